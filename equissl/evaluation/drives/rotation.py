"""Linear probes for the rotation of a sweep, beside a probe that sees its outline alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.drives.encoding import SweepEncoder, batches, crop_wedge, rotate_cloud
from equissl.geometry.sweep_transforms import rotation_class
from equissl.sparse import VoxelGrid
from equissl.util.progress import staged

OUTLINE_BINS = 72  # 5 degrees each
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
Scores = dict[str, float]
View = Callable[[Sequence[Tensor]], Tensor]  # clouds to features (B, D)


@dataclass(frozen=True)
class Turned:
    """Sweeps turned at random.

    Attributes:
        clouds: as recorded.
        angles: (N, R) radians, R of each sweep.
        labels: (N * R,) classes, those of one sweep together.
        drives: name of the drive of each sweep.
    """

    clouds: Sequence[Tensor]
    angles: np.ndarray
    labels: Tensor
    drives: Sequence[str]

    @classmethod
    def draw(cls, clouds: Sequence[Tensor], drives: Sequence[str], config: DriveEvaluateConfig, stream: int) -> Turned:
        """Draw uniform angles between -90° and 90°, from the seed and ``stream`` alone.

        Args:
            clouds: N sweeps.
            drives: name of each sweep's drive.
            config: seed, and number of rotations of each sweep.
            stream: number that sets these draws apart from others of the same seed.
        """
        random = np.random.default_rng(np.random.SeedSequence([config.seed, stream]))
        angles = random.uniform(-math.pi / 2, math.pi / 2, (len(clouds), config.rotations))
        return cls(clouds, angles, rotation_class(torch.from_numpy(angles).flatten(), config.bins), drives)

    def show(self, view: View, batch_size: int, wedge: float | None = None) -> Tensor:
        """Compute features (N * R, D) of the turned sweeps, cropped to ``wedge`` *before* the turn where it is given.

        Args:
            view: features of a batch of clouds.
            batch_size: clouds in a batch.
            wedge: opening angle in degrees; None for whole sweeps.
        """
        whole = self.clouds if wedge is None else [crop_wedge(cloud, wedge) for cloud in self.clouds]
        turns = [(cloud, angle) for cloud, own in zip(whole, self.angles, strict=True) for angle in own.tolist()]
        groups = staged(list(batches(turns, batch_size)), "turned sweeps", "batches")
        shown = [view([rotate_cloud(*turn) for turn in group]) for group in groups]
        return torch.cat(shown).double()


def rotation_scores(
    trained: SweepEncoder, initial: SweepEncoder, train: Turned, val: Turned, config: DriveEvaluateConfig
) -> Scores:
    """Score linear probes for the rotation class, learnt on training drives and scored on unseen ones.

    ``rotation/…`` turns the whole sweep, and the encoder's range cuts it afterwards. ``rotation_wedge/…`` first crops
    to the front, as a camera's field of view would, and then turns: the edges of the wedge show the angle, and nothing
    about the surroundings need be understood. ``accuracy`` is the trained encoder's, ``initial`` that of the same
    architecture with its first weights, ``outline`` that of a classifier that sees only how far the cloud reaches in
    each direction. Where ``outline`` is near ``accuracy``, the probe proves nothing.

    Args:
        trained: the encoder of the run.
        initial: the same architecture with its first weights.
        train: turned sweeps of training drives.
        val: turned sweeps of validation drives.
        config: number of classes, wedge and batch size.
    """
    scores: Scores = {"rotation/chance": 1 / config.bins, "rotation/majority": _majority(train, val)}
    grid = trained.encoder.grid
    views: dict[str, View] = {
        "accuracy": trained.pooled,
        "initial": initial.pooled,
        "outline": lambda clouds: torch.stack([outline(cloud, grid) for cloud in clouds]),
    }
    for prefix, wedge in (("rotation", None), ("rotation_wedge", config.wedge)):
        for name, view in views.items():
            x, y = (part.show(view, config.batch_size, wedge) for part in (train, val))
            scores[f"{prefix}/{name}"] = probe_accuracy(x, train, y, val, config.bins)
    return scores


def outline(cloud: Tensor, grid: VoxelGrid) -> Tensor:
    """Compute the outline of a cloud: in each direction whether there are points in range, and how far they reach.

    Args:
        cloud: (P, 3+) points.
        grid: its range is the encoder's.
    """
    cloud = cloud[grid.locate(cloud[:, :3])[1]]
    distance = cloud[:, :2].double().norm(dim=1)
    share = (torch.atan2(cloud[:, 1], cloud[:, 0]).double() + math.pi) / (2 * math.pi)
    place = (share * OUTLINE_BINS).long().clamp(0, OUTLINE_BINS - 1)
    reach = distance.new_zeros(OUTLINE_BINS).scatter_reduce(0, place, distance, "amax")
    return torch.cat([(reach > 0).double(), reach])


def probe_accuracy(x: Tensor, train: Turned, y: Tensor, val: Turned, classes: int) -> float:
    """Compute top-1 on ``y`` of softmax regression on ``x``; the penalty is the best for training drives left out.

    Args:
        x: features of ``train``.
        train: turned sweeps to learn from.
        y: features of ``val``.
        val: turned sweeps to score.
        classes: number of rotation classes.
    """
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-9)
    x, y = (x - mean) / scale, (y - mean) / scale
    kept = _kept_drives(train)
    penalty = PENALTIES[1]
    if kept is not None:
        fits = {p: fit_softmax(x[kept], train.labels[kept], classes, p) for p in PENALTIES}
        penalty = max(PENALTIES, key=lambda p: _accuracy(fits[p], x[~kept], train.labels[~kept]))
    return _accuracy(fit_softmax(x, train.labels, classes, penalty), y, val.labels)


def fit_softmax(x: Tensor, labels: Tensor, classes: int, penalty: float, steps: int = 60) -> Tensor:
    """Fit weights (D + 1, classes) of softmax regression by L-BFGS.

    Args:
        x: (N, D) features.
        labels: (N,) classes.
        classes: number of classes.
        penalty: half of it is the weight of the squared weights.
        steps: iterations, at most.
    """
    with torch.enable_grad():
        weights = x.new_zeros(x.shape[1] + 1, classes, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = functional.cross_entropy(_logits(weights, x), labels)
            value = value + penalty / 2 * weights[:-1].square().sum()
            value.backward()
            return value

        optimizer.step(loss)
    return weights.detach()


def _logits(weights: Tensor, x: Tensor) -> Tensor:
    return x @ weights[:-1] + weights[-1]


def _accuracy(weights: Tensor, x: Tensor, labels: Tensor) -> float:
    return float((_logits(weights, x).argmax(1) == labels).double().mean())


def _kept_drives(train: Turned) -> Tensor | None:
    """Mark rows (N * R,) bool of the drives kept when every fourth, at least one, is held out; None for one drive."""
    names = sorted(set(train.drives))
    held = set(names[::4])
    if len(names) < 2:
        return None
    kept = torch.tensor([drive not in held for drive in train.drives])
    return kept.repeat_interleave(train.angles.shape[1])


def _majority(train: Turned, val: Turned) -> float:
    most = torch.bincount(train.labels).argmax()
    return float((val.labels == most).double().mean())
