"""FERNN as a method: trained, resumed and evaluated through the program's own path; and the claim, at small scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.datasets.videos.config import VideosData
from equissl.datasets.videos.moving_digits import MovingDigits, MovingSpec, VideoBatch
from equissl.evaluation import evaluate
from equissl.evaluation.videos.evaluate import VideoEvaluateConfig, rollout_scores
from equissl.methods import FERNN, VideoClassification
from equissl.reporting import format_table, write_report
from equissl.reporting.videos.rollouts import rollout_figure
from equissl.runs import MethodConfig, PretrainConfig, ProbeConfig, TrainerConfig
from equissl.runs.configfile import load_config
from equissl.training import pretrain

SEQUENCES = {"radius": 1, "frames": 6, "size": 8, "digit_size": 6, "digits": 1, "held_out": [[1, 1]]}
SMALL = ["fernn_rotation_small", "fernn_quarter_turns_small", "fernn_classification_small"]
FEW = VideoEvaluateConfig(videos=8, velocity_videos=4, batch_size=4, rollouts=2, device="cpu")


@pytest.fixture
def mnist(shared: Path) -> Path:
    return shared / "data" / "mnist_t10k"


def config(store: Path, method: str = "FERNN", steps: int = 4, **init_args: Any) -> PretrainConfig:
    return PretrainConfig(
        MethodConfig(method, {"videos": SEQUENCES, "radius": 1, **init_args}),
        VideosData(store=str(store), batch_size=4),
        trainer=TrainerConfig(
            max_steps=steps, precision="32", accelerator="cpu", log_every=2, checkpoint_every=2, loggers=["csv"]
        ),
        probes=ProbeConfig(enabled=False),
    )


def batch_of(velocity: tuple[int, int], videos: int = 2) -> VideoBatch:
    """One bright pixel on 5 × 5 that moves as told."""
    frame = torch.zeros(videos, 1, 5, 5)
    frame[:, 0, 2, 2] = 1
    frames = torch.stack([frame.roll((t * velocity[1], t * velocity[0]), (-2, -1)) for t in range(6)], dim=1)
    empty = torch.zeros(videos, 1)
    return VideoBatch(frames, torch.tensor([[velocity]] * videos).float(), empty.long(), empty.long())


def test_equal_initial_weights_whatever_the_velocities() -> None:
    weights = []
    for radius in (0, 2):
        torch.manual_seed(0)
        weights.append(FERNN(radius=radius, channels=3, decoder_layers=1).state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))
    assert sum(p.numel() for p in FERNN().parameters()) == 739_584


def test_loss_is_the_rollouts_mean_squared_error() -> None:
    method = FERNN(MovingSpec(radius=1, frames=6, size=5, digit_size=5, digits=1), 4, 1, 3, 1)
    batch = batch_of((1, 0))
    output = method.step(batch)
    expected = (method.rollout(batch.frames[:, :4], 2) - batch.frames[:, 4:]).square().mean()
    torch.testing.assert_close(output.loss, expected)
    # two of 25 pixels differ between the last frame seen and each of those to come
    torch.testing.assert_close(output.terms["mse_copy"], torch.tensor(2 / 25))
    assert output.features.shape == (2, 1, 3)


def test_loss_after_every_frame_is_the_mean_of_those_of_shorter_videos() -> None:
    spec = MovingSpec(radius=1, frames=6, size=5, digit_size=5, digits=1)
    batch = batch_of((1, 0))
    method = VideoClassification(spec, radius=1, channels=(2, 3, 4), every_frame=True).eval()
    single = VideoClassification(spec, radius=1, channels=(2, 3, 4)).eval()
    single.load_state_dict(method.state_dict())
    shorter = [single.step(replace(batch, frames=batch.frames[:, :seen])).loss for seen in range(1, 7)]
    torch.testing.assert_close(method.step(batch).loss, torch.stack(shorter).mean())
    assert method.step(batch).features.shape == single.step(batch).features.shape == (2, 1, 4)


def test_scores_of_a_perfect_and_of_a_blank_model() -> None:
    method = FERNN(MovingSpec(radius=1, frames=6, size=5, digit_size=5, digits=1), 3, 1, 2, 0)

    class Oracle(torch.nn.Module):
        def next_frames(self, frames: torch.Tensor) -> torch.Tensor:
            return frames.roll(1, -1)

        def forward(self, frames: torch.Tensor, horizon: int) -> torch.Tensor:
            return torch.stack([frames[:, -1].roll(t + 1, -1) for t in range(horizon)], dim=1)

    method.encoder = Oracle()  # type: ignore[assignment]
    scores = rollout_scores(method, iter([batch_of((1, 0))]))
    assert scores["prediction/next_mse"] == scores["rollout/mse"] == 0
    assert np.isnan(scores["prediction/next_mse_beyond"])  # these sequences are no longer than training's
    assert scores["prediction/copy_mse"] == pytest.approx(2 / 25)
    assert scores["prediction/mean_mse"] == pytest.approx(1 / 25 * 24 / 25)
    wrong = rollout_scores(method, iter([batch_of((0, 0))]))
    assert wrong["prediction/next_mse"] == pytest.approx(2 / 25)
    # a still pixel against one that goes round the torus of 5: right again after five steps
    assert [wrong[f"rollout/step_mse/{k:03d}"] for k in (1, 2, 3)] == pytest.approx([2 / 25] * 3)
    method.videos = replace(method.videos, frames=4)  # the last two of these six frames are beyond training's
    longer = rollout_scores(method, iter([batch_of((0, 0))]))
    assert [longer[f"prediction/step_mse/{k:03d}"] for k in (1, 2, 3)] == pytest.approx([2 / 25] * 3)
    assert longer["prediction/next_mse_beyond"] == pytest.approx(2 / 25)


@pytest.mark.parametrize(
    ("method", "init_args"),
    [
        ("FERNN", {"observed": 3, "channels": 3, "decoder_layers": 1}),
        ("FERNN", {"observed": 3, "channels": 2, "decoder_layers": 1, "orientations": 4,
                   "videos": {**SEQUENCES, "motion": "rotation", "step": 90.0, "held_out": []}}),
        ("VideoClassification", {"channels": [2, 3, 4]}),
        ("VideoClassification", {"channels": [2, 3, 4], "network": "learned"}),
        ("VideoClassification", {"channels": [2, 3, 4], "network": "cnn"}),
        ("VideoClassification", {"channels": [2, 3, 4], "every_frame": True}),
    ],
)  # fmt: skip
def test_pretrain_resume_evaluate_and_report(mnist: Path, tmp_path: Path, method: str, init_args: dict) -> None:
    run, twin = tmp_path / "run", tmp_path / "twin"
    pretrain(config(mnist, method, 2, **init_args), run)
    pretrain(config(mnist, method, 4, **init_args), run)  # continues
    pretrain(config(mnist, method, 4, **init_args), twin)
    states = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (run, twin)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    results = evaluate(run, FEW)
    assert json.loads((run / "results.json").read_text())["kind"] == "videos"
    table = format_table([results])
    assert results["label"] in table
    page = write_report([run], tmp_path / "page.html").read_text()
    assert results["label"] in page
    if method == "FERNN":
        assert results["equivariance/states"] <= 1e-5
        assert {k for k in results if k.startswith("rollout/step_mse")} == {
            f"rollout/step_mse/{k:03d}" for k in range(1, 10)
        }
        assert "predicted frames beside the truth" in page
    else:
        assert results["classification/chance"] == 0.1
        steps = [results[k] for k in sorted(results) if k.startswith("classification/step_top1/")]
        assert len(steps) == 12
        assert steps[5] == results["classification/top1"] and steps[11] == results["classification/top1_beyond"]
        assert "Accuracy after each frame" in page
    values = [k for k in results if k.startswith(("velocity/mse/", "velocity/top1/"))]
    assert len(values) == (3 if init_args.get("orientations") else 9)


def test_unseen_velocities_are_those_held_out(mnist: Path, tmp_path: Path) -> None:
    run = pretrain(config(mnist, steps=1, observed=3, channels=2, decoder_layers=0), tmp_path / "run")
    results = evaluate(run, FEW)
    assert results["velocity/mse_unseen"] == results["velocity/mse/1,1"]
    seen = [v for k, v in results.items() if k.startswith("velocity/mse/") and k != "velocity/mse/1,1"]
    assert results["velocity/mse_seen"] == pytest.approx(np.mean(seen))


def test_figure_puts_predictions_at_their_times() -> None:
    truth = np.full((1, 4, 1, 3, 3), 50, np.uint8)
    predicted = np.full((1, 2, 1, 3, 3), 200, np.uint8)
    picture = np.asarray(rollout_figure(truth, {"model": predicted}, observed=2, scale=1).convert("L"))
    rows = [np.flatnonzero((picture[2:5] == 50).any(axis=0)), np.flatnonzero((picture[7:10] == 200).any(axis=0))]
    assert rows[0].size == 12
    assert rows[1].size == 6
    assert set(rows[1]) == set(rows[0][6:]), "below the frames that they predict"
    with pytest.raises(ValueError, match="shape"):
        rollout_figure(truth, {"model": truth}, observed=2)
    assert isinstance(rollout_figure(truth, {}, observed=2), Image.Image)


@pytest.mark.parametrize("name", ["fernn_translation", "fernn_rotation", "fernn_small", "fernn_classification", *SMALL])
def test_packaged_recipes_resolve(name: str) -> None:
    assert load_config(name).method.class_path in ("FERNN", "VideoClassification")


def test_refusals() -> None:
    with pytest.raises(ValueError, match="observed"):
        FERNN(MovingSpec(frames=5), observed=5)
    with pytest.raises(ValueError, match="one digit"):
        VideoClassification()
    with pytest.raises(ValueError, match="network"):
        VideoClassification(MovingSpec(digits=1), network="mlp")  # type: ignore[arg-type]


@pytest.mark.slow
def test_flow_equivariance_pays_at_equal_steps(mnist: Path) -> None:
    """Half the baseline's error after 300 equal steps; `equissl bench fernn` shows the rest of the way."""
    spec = MovingSpec(radius=1, frames=8, size=8, digit_size=7, digits=1)
    data = MovingDigits(mnist, "train", spec)
    unseen = MovingDigits(mnist, "val", spec, 64).__getitems__([(0, i) for i in range(64)])
    errors = {}
    for radius in (0, 1):
        torch.manual_seed(0)
        method = FERNN(spec, 4, radius, 12, 1)
        optimizer = torch.optim.Adam(method.parameters(), lr=5e-3)
        for step in range(300):
            loss = method.step(data.__getitems__([(0, 8 * step + i) for i in range(8)])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            errors[radius] = rollout_scores(method, iter([unseen]))["rollout/mse"]
    assert errors[1] < errors[0] / 2, errors
