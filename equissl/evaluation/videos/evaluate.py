"""Evaluation of a run on moving digits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.videos.config import VideosData
from equissl.datasets.videos.moving_digits import DigitSource, MovingDigits, MovingSpec, VideoBatch, load_digits
from equissl.encoders.recurrent import RecurrentCell, equivariance_error
from equissl.evaluation.diagnostics import collapse_scores
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device
from equissl.util.files import atomic_path
from equissl.util.progress import Log, staged

if TYPE_CHECKING:
    from equissl.methods.videos.fernn import FERNN, VideoClassification, VideoMethod

ROLLOUTS = "rollouts.npz"
COLLAPSE_VIDEOS = 256  # whose representations RankMe is measured of, at most


@dataclass(frozen=True)
class VideoEvaluateConfig:
    """Settings of an evaluation on moving digits.

    Attributes:
        videos: of unseen digits, for every number but those of single velocities.
        velocity_videos: of each velocity.
        velocity_radius: velocities of the generalisation curve, both parts in −radius..radius; None takes what the
            model's velocity set or the training data span, whichever is larger.
        length_factor: videos have this many times the frames of training, in all but the scores of single velocities.
        rollouts: sequences whose roll-outs are kept for figures.
        batch_size: sequences at a time.
        seed: of the sequences.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    videos: int = 512
    velocity_videos: int = 128
    velocity_radius: int | None = None
    length_factor: int = 2
    rollouts: int = 4
    batch_size: int = 64
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("videos", "velocity_videos", "length_factor", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


def evaluate_videos(
    run_dir: str | Path,
    method: VideoMethod,
    training: PretrainConfig,
    options: VideoEvaluateConfig | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Evaluate a method on videos of digits it has never seen, and write the results.

    Of a predictor: next-frame error, error at each step of long roll-outs, error for each velocity, and how far states
    and roll-outs are from flow equivariance; ``rollouts.npz`` keeps some roll-outs beside the truth. Of a
    classifier: accuracy, after each frame of long videos, and for each velocity.

    Args:
        run_dir: folder written by ``pretrain``.
        method, training: as `equissl.training.load_method` gives them.
        options: what to measure.
        store: folder of IDX files whose validation digits are used; the one of the run where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written.
    """
    run_dir, config, started = Path(run_dir), options or VideoEvaluateConfig(), time.perf_counter()
    method = method.to(choose_device(config.device)).eval()
    digits = load_digits(cast(VideosData, training.data).store if store is None else store, "val")
    log(f"{len(digits.labels)} unseen digits of {digits.path}")
    results = _meta(run_dir, method, training, digits, config)
    with torch.no_grad():
        if method.predicts:
            results |= _prediction(cast("FERNN", method), digits, config, result_folder(run_dir, results), log)
        else:
            results |= _classification(cast("VideoClassification", method), digits, config, log)
        results |= collapse_of_videos(method, digits, config)
    results["seconds"] = round(time.perf_counter() - started, 2)
    write_results(run_dir, results)
    return results


def collapse_of_videos(method: VideoMethod, digits: DigitSource, config: VideoEvaluateConfig) -> dict[str, Any]:
    """Compute RankMe and mean deviation of the representation of unseen videos; empty for fewer than two.

    Args:
        method: in eval mode.
        digits: that move.
        config: number of videos.
    """
    seen = getattr(method, "observed", method.videos.frames)
    count = min(config.videos, COLLAPSE_VIDEOS)
    found = [
        method.features(batch.frames[:, :seen])["all"].float().cpu()
        for batch in _batches(method, digits, method.videos, count, config)
    ]
    features = torch.cat(found)[:, None]
    return collapse_scores(features, "all") if len(features) > 1 else {}


def _prediction(
    method: FERNN, digits: DigitSource, config: VideoEvaluateConfig, folder: Path, log: Log
) -> dict[str, Any]:
    log("next frames and roll-outs")
    long = replace(method.videos, frames=config.length_factor * method.videos.frames)
    results = rollout_scores(method, _batches(method, digits, long, config.videos, config))
    log("single velocities")
    results |= _by_velocity(method, digits, config, _rollout_mse, "velocity/mse")
    log("equivariance")
    first = next(_batches(method, digits, method.videos, 4, config)).frames
    results |= equivariance_scores(method, first)
    if config.rollouts:
        shown = next(_batches(method, digits, long, config.rollouts, config)).frames
        predicted = method.rollout(shown[:, : method.observed], shown.shape[1] - method.observed)
        with atomic_path(folder / ROLLOUTS) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, truth=_bytes(shown), predicted=_bytes(predicted))
    return results


def rollout_scores(method: FERNN, batches: Iterator[VideoBatch]) -> dict[str, float]:
    """Compute errors of predictions, of the frames' mean and of a copy of the last frame, in float64.

    Args:
        method: the trained model.
        batches: videos of one length, longer than in training.

    Returns:
        ``prediction/next_mse``, of each frame of training's second part from the true frames before it, and
        ``prediction/next_mse_beyond``, of the frames after those of training, with ``prediction/step_mse/K`` of each;
        ``prediction/copy_mse``, ``prediction/mean_mse``: of trivial predictors of those; ``rollout/mse``: roll-outs as
        long as in training; ``rollout/mse_beyond``: the steps after that; ``rollout/last_over_trained``: error of the
        last step by that of the last trained one; ``rollout/step_mse/K`` and ``rollout/step_sd/K`` (over sequences).
    """
    seen, end = method.observed, method.videos.frames
    following, copied, rolled, pixels = [], [], [], []
    for batch in batches:
        frames = batch.frames
        truth = frames[:, seen:end]
        following.append(_squared(method.encoder.next_frames(frames[:, :-1])[:, seen - 1 :], frames[:, seen:]))
        copied.append(_squared(frames[:, seen - 1 : end - 1], truth))
        rolled.append(_squared(method.rollout(frames[:, :seen], frames.shape[1] - seen), frames[:, seen:]))
        pixels.append(truth.double().flatten())
    steps, next_steps, trained = torch.cat(rolled), torch.cat(following), end - seen
    scores = {
        "prediction/next_mse": float(next_steps[:, :trained].mean()),
        "prediction/next_mse_beyond": _mean(next_steps[:, trained:]),
        "prediction/copy_mse": float(torch.cat(copied).mean()),
        "prediction/mean_mse": float(torch.cat(pixels).var(correction=0)),
        "rollout/mse": float(steps[:, :trained].mean()),
        "rollout/mse_beyond": _mean(steps[:, trained:]),
        "rollout/last_over_trained": float(steps[:, -1].mean() / steps[:, trained - 1].mean()),
    }
    for k in range(steps.shape[1]):
        scores[f"prediction/step_mse/{k + 1:03d}"] = float(next_steps[:, k].mean())
        scores[f"rollout/step_mse/{k + 1:03d}"] = float(steps[:, k].mean())
        scores[f"rollout/step_sd/{k + 1:03d}"] = float(steps[:, k].std())
    return scores


def equivariance_scores(method: FERNN, frames: Tensor) -> dict[str, float]:
    """Compute the largest errors under the motions of the model's and the data's velocities other than 0.

    Of hidden states at matched velocities (``equivariance/states``; left out for the baseline, whose one slice has no
    partner), and of roll-outs. Those are exact only where V is a group on frames of this size (``equivariance/group``:
    1, see `VelocitySet.closed`); elsewhere frames that move and are moved again may be faster than any velocity of V.

    Args:
        method: the trained model.
        frames: (B, T, 1, S, S) videos to move.
    """
    velocity_set, cell = method.encoder.velocity_set, method.encoder.cell
    assert isinstance(cell, RecurrentCell)
    size = (frames.shape[-2], frames.shape[-1])
    seen = frames[:, : method.observed]
    moving = [v for v in {*velocity_set.velocities, *method.videos.velocities} if any(v)]
    matched = [v for v in moving if velocity_set.partners(v, size)]
    scores = {"equivariance/group": float(velocity_set.closed(size) and len(velocity_set) > 1)}
    if matched:
        scores["equivariance/states"] = max(equivariance_error(cell, seen, v) for v in matched)
    if moving:
        scores["equivariance/rollout"] = max(equivariance_error(method.encoder, seen, v) for v in moving)
    return scores


def _classification(
    method: VideoClassification, digits: DigitSource, config: VideoEvaluateConfig, log: Log
) -> dict[str, Any]:
    log("classification")
    long = replace(method.videos, frames=config.length_factor * method.videos.frames)
    results = accuracy_scores(method, _batches(method, digits, long, config.videos, config))
    results["classification/chance"] = 1 / len(digits.classes)
    log("single velocities")
    return results | _by_velocity(method, digits, config, _correct, "velocity/top1")


def accuracy_scores(method: VideoClassification, batches: Iterator[VideoBatch]) -> dict[str, float]:
    """Compute the accuracy after each frame of videos at least as long as in training.

    Args:
        method: the trained model.
        batches: videos of one length.

    Returns:
        ``classification/top1``, after as many frames as in training, ``classification/top1_beyond``, after all, and
        ``classification/step_top1/K`` after K.
    """
    found = [_classes_by_frame(method, b) == b.labels[:, :1] for b in batches]
    steps = torch.cat(found).double().mean(dim=0).tolist()
    curve = {f"classification/step_top1/{k:03d}": value for k, value in enumerate(steps, start=1)}
    return {
        "classification/top1": steps[method.videos.frames - 1],
        "classification/top1_beyond": steps[-1],
        **curve,
    }


def _classes_by_frame(method: VideoClassification, batch: VideoBatch) -> Tensor:
    """(B, T) class after each frame."""
    return method.encoder.head(method.encoder.features_by_frame(batch.frames)).argmax(dim=2)


def _by_velocity(
    method: Any,
    digits: DigitSource,
    config: VideoEvaluateConfig,
    score: Callable[[Any, VideoBatch], Tensor],
    name: str,
) -> dict[str, float]:
    """Compute the mean score where all digits move alike, for each velocity; digits and places are the same."""
    trained = method.videos
    radius = config.velocity_radius if config.velocity_radius is not None else max(trained.radius, model_radius(method))
    results: dict[str, float] = {}
    groups: dict[str, list[float]] = {"seen": [], "unseen": []}
    for velocity in replace(trained, radius=radius, held_out=[]).velocities:
        found = _batches(method, digits, trained, config.velocity_videos, config, [velocity])
        value = float(torch.cat([score(method, batch) for batch in found]).mean())
        results[f"{name}/{','.join(f'{part:g}' for part in velocity)}"] = value
        groups["seen" if velocity in trained.velocities else "unseen"].append(value)
    return results | {f"{name}_{group}": float(np.mean(values)) for group, values in groups.items() if values}


def model_radius(method: Any) -> int:
    """Return N of the velocity set of a method's network; 0 for one without."""
    cell = getattr(method.encoder, "cell", None)
    return 0 if cell is None else int(cell.velocity_set.radius)


def _rollout_mse(method: FERNN, batch: VideoBatch) -> Tensor:
    seen, truth = batch.frames[:, : method.observed], batch.frames[:, method.observed :]
    return _squared(method.rollout(seen, truth.shape[1]), truth).mean(dim=1)


def _correct(method: VideoClassification, batch: VideoBatch) -> Tensor:
    return (method.encoder(batch.frames).argmax(dim=1) == batch.labels[:, 0]).double()


def _batches(
    method: VideoMethod,
    digits: DigitSource,
    spec: MovingSpec,
    count: int,
    config: VideoEvaluateConfig,
    velocities: Sequence[Sequence[float]] | None = None,
) -> Iterator[VideoBatch]:
    """Yield ``count`` videos of unseen digits, on the method's device, with progress."""
    dataset = MovingDigits(digits, "val", spec, count, config.seed, velocities)
    device = next(method.parameters()).device
    for start in staged(range(0, count, config.batch_size), "videos", "batches"):
        indices = range(start, min(start + config.batch_size, count))
        yield dataset.__getitems__([(0, i) for i in indices]).to(device)


def _squared(predictions: Tensor, truth: Tensor) -> Tensor:
    """Compute the mean squared error (B, K) of each frame."""
    return (predictions.double() - truth.double()).square().mean(dim=(2, 3, 4)).cpu()


def _mean(errors: Tensor) -> float:
    return float(errors.mean()) if errors.numel() else float("nan")


def _bytes(frames: Tensor) -> np.ndarray:
    return frames.clamp(0, 1).mul(255).round().byte().cpu().numpy()


def _meta(
    run_dir: Path, method: VideoMethod, training: PretrainConfig, digits: DigitSource, config: VideoEvaluateConfig
) -> dict[str, Any]:
    step = read_saved(run_dir)["step"]
    return {
        "kind": training.data.kind,
        "method": type(method).__name__,
        "label": method.label,
        "run": run_dir.name,
        "store": str(digits.path),
        "seed": training.seed,
        "steps": step,
        "videos_seen": step * training.trainer.accumulate * training.data.batch_size,
        "model_radius": model_radius(method),
        "parameters": sum(p.numel() for p in method.parameters()),
        **{f"videos/{key}": value for key, value in asdict(method.videos).items()},
        **flat_config(asdict(config)),
    }
