"""Scene flow metrics of Argoverse 2: three-way end-point error, accuracies and bucket-normalised end-point error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DYNAMIC = 0.05  # metres a frame of own motion from which a point counts as dynamic

# Argoverse 2 numbers its categories in the order of the alphabet from 1 on; 0 is the background. Signs and animals
# belong to no group: they are not scored.
BUCKET_GROUPS: dict[str, tuple[int, ...]] = {
    "background": (0,),
    "car": (19,),
    "other_vehicles": (2, 6, 7, 11, 18, 20, 25, 26, 27),
    "pedestrian": (16, 17, 23, 28),
    "wheeled_vru": (3, 4, 14, 15, 29, 30),
}


def end_point_error(preds: Tensor, target: Tensor) -> Tensor:
    """Compute the distance of each predicted flow vector from the true one.

    Args:
        preds: (N, 3) metres.
        target: (N, 3) metres.

    Returns:
        (N,) float64 on the CPU.

    Raises:
        ValueError: for other or unequal shapes, and for flow that is not finite.
    """
    for name, flow in (("preds", preds), ("target", target)):
        if flow.ndim != 2 or flow.shape[1] != 3:
            raise ValueError(f"expected {name} of shape (N, 3), got {tuple(flow.shape)}")
        if not flow.isfinite().all():
            bad = int((~flow.isfinite().all(dim=1)).sum())
            raise ValueError(f"expected finite {name}, got {bad} bad rows of {len(flow)}")
    if preds.shape != target.shape:
        raise ValueError(f"expected preds and target of equal length, got {len(preds)} and {len(target)}")
    return (preds.detach().cpu().double() - target.detach().cpu().double()).norm(dim=1)


def own_speed(target: Tensor, static: Tensor) -> Tensor:
    """(N,) metres a frame that points move by themselves: the distance of their flow from that of a static world.

    Args:
        target: (N, 3) true flow.
        static: (N, 3) flow of the same points if only the sensor moved.
    """
    return end_point_error(target, static)


def threeway_epe(preds: Tensor, target: Tensor, speed: Tensor, foreground: Tensor) -> dict[str, float]:
    """End-point error of moving objects, standing objects and background, each averaged alone, and their mean.

    Averages over all points say little: more than nine in ten points stand still.

    Args:
        preds, target: (N, 3) metres.
        speed: (N,) from :func:`own_speed`; from 0.05 on a point is dynamic.
        foreground: (N,) bool, points of objects.

    Returns:
        ``dynamic_foreground``, ``static_foreground``, ``background`` and ``threeway``; NaN for a part without points,
        which the mean leaves out.
    """
    error, dynamic = end_point_error(preds, target), _column("speed", speed, len(preds)) >= DYNAMIC
    foreground = _column("foreground", foreground, len(preds)).bool()
    parts = {
        "dynamic_foreground": foreground & dynamic,
        "static_foreground": foreground & ~dynamic,
        "background": ~foreground,
    }
    scores = {name: float(error[chosen].mean()) for name, chosen in parts.items()}
    return {**scores, "threeway": _mean_of_known(scores.values())}


def flow_accuracy(preds: Tensor, target: Tensor, threshold: float) -> float:
    """Compute the share of points with an error below ``threshold`` metres, or below that share of the flow's length.

    0.05 is the strict accuracy of the literature, 0.1 the relaxed one. NaN without points.

    Args:
        preds: (N, 3) flow in metres.
        target: (N, 3) true flow.
        threshold: metres, and share of the true flow's length.
    """
    error = end_point_error(preds, target)
    length = target.detach().cpu().double().norm(dim=1)
    return float(((error < threshold) | (error < threshold * length)).double().mean())


@dataclass(frozen=True)
class BucketScore:
    """Bucket-normalised error of one group of categories.

    Attributes:
        static: mean end-point error, in metres, of points in the slowest bucket; NaN without any.
        dynamic: mean over the other buckets of error / speed: 0 is perfect, 1 is what a static world scores; NaN
            without any.
    """

    static: float
    dynamic: float


def bucketed_epe(
    preds: Tensor,
    target: Tensor,
    speed: Tensor,
    classes: Tensor,
    groups: Mapping[str, Sequence[int]] = BUCKET_GROUPS,
    buckets: int = 50,
    fastest: float = 2.0,
) -> dict[str, BucketScore]:
    """Compute the end-point error by category and speed, in units of the speed.

    Per group of categories the points are split by own speed into ``buckets`` equal buckets from 0 to ``fastest`` and
    one above. The mean error of each bucket but the slowest is divided by its mean speed: a pedestrian that was missed
    counts as much as a car that was missed (Khatri et al., "I Can't Believe It's Not Scene Flow!", ECCV 2024).

    Args:
        preds, target: (N, 3) metres.
        speed: (N,) from :func:`own_speed`, metres a frame.
        classes: (N,) integer categories.
        groups: category numbers of each group.
        buckets: how many below ``fastest``.
        fastest: metres a frame.

    Returns:
        the score of every group.
    """
    error, speed = end_point_error(preds, target), _column("speed", speed, len(preds))
    classes = _column("classes", classes, len(preds)).long()
    bucket = (speed * (buckets / fastest)).floor().clamp(max=buckets).long()
    scores = {}
    for name, numbers in groups.items():
        chosen = torch.isin(classes, torch.tensor(list(numbers)))
        count, errors, speeds = (
            torch.zeros(buckets + 1, dtype=torch.float64).index_add_(0, bucket[chosen], values[chosen])
            for values in (torch.ones_like(error), error, speed)
        )
        # errors / count over speeds / count; an empty bucket gives NaN and is left out
        scores[name] = BucketScore(float(errors[0] / count[0]), _mean_of_known((errors[1:] / speeds[1:]).tolist()))
    return scores


def near_square(points: Tensor, half: float = 35.0) -> Tensor:
    """Mark points in the square of ±``half`` metres that bucketed scores are taken over: (N,) bool.

    Args:
        points: (N, 3).
        half: side of the square by 2, in metres.
    """
    return (points[:, :2].abs() <= half).all(dim=1).cpu()


def _column(name: str, values: Tensor, count: int) -> Tensor:
    if values.shape != (count,):
        raise ValueError(f"expected {name} of shape ({count},), got {tuple(values.shape)}")
    return values.detach().cpu().double()


def _mean_of_known(values: object) -> float:
    known = [value for value in values if not math.isnan(value)]  # type: ignore[attr-defined]
    return sum(known) / len(known) if known else math.nan
