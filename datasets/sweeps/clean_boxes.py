"""Selection of a sweep's labels that a detector can learn, or be scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.sweep import Boxes
from equissl.datasets.sweeps.object_classes import ObjectClass, class_indices


@dataclass(frozen=True)
class LabelCounts:
    """Counts of labels by outcome; each is counted once, by the first reason that applies, in this order.

    Attributes:
        broken: a number that is not finite, or a size that is not positive.
        unknown: labels of none of the classes.
        out_of_range: centred outside.
        empty: with too few points inside.
        kept: all others.
    """

    broken: int = 0
    unknown: int = 0
    out_of_range: int = 0
    empty: int = 0
    kept: int = 0

    def __add__(self, other: LabelCounts) -> LabelCounts:
        return LabelCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Objects:
    """Objects of one sweep.

    Attributes:
        boxes: (M, 7) float64, headings in [-π, π).
        labels: (M,) int64 class.
        others: (K, 7) whole boxes that are no such objects, but stand in the scene.
        counts: what became of all labels.
        velocities: (M, 2) float64 metres a second over ground, along x and y; NaN where unknown.
    """

    boxes: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    counts: LabelCounts
    velocities: np.ndarray


def clean_boxes(
    boxes: Boxes | None,
    points: np.ndarray,
    classes: Sequence[ObjectClass],
    point_range: Sequence[float] | None = None,
    min_points: int = 1,
) -> Objects:
    """Select the objects among a sweep's labels; what is wrong with the others is counted, and stops nothing.

    Headings are brought into [-π, π). A sweep without labels, or with none that is kept, has no objects.

    Args:
        boxes: labels; None where the sweep has none.
        points: (N, 3 or more) of the sweep.
        classes: to keep.
        point_range: lowest and highest x, y, z of the boxes' centres; None keeps all.
        min_points: inside a box.
    """
    boxes = boxes if boxes is not None else Boxes.empty()
    whole = np.isfinite(boxes.boxes).all(axis=1) & (boxes.boxes[:, 3:6] > 0).all(axis=1)
    values = boxes.boxes.copy()
    # whole turns only, so that a heading that is in range already stays as it is
    values[whole, 6] -= 2 * np.pi * np.floor((values[whole, 6] + np.pi) / (2 * np.pi))
    labels = class_indices(boxes.names, classes)
    kept = whole & (labels >= 0)
    known = int(kept.sum())
    if point_range is not None:
        kept &= in_range(values, point_range)
    inside = int(kept.sum())
    rows = np.flatnonzero(kept)
    filled = rows[count_points_in_boxes(points[:, :3], values[rows]) >= min_points]
    others = np.setdiff1d(np.flatnonzero(whole), filled)
    counts = LabelCounts(
        broken=int((~whole).sum()),
        unknown=int(whole.sum()) - known,
        out_of_range=known - inside,
        empty=inside - len(filled),
        kept=len(filled),
    )
    velocities = np.full((len(boxes), 2), np.nan) if boxes.velocities is None else boxes.velocities
    return Objects(values[filled], labels[filled], values[others], counts, velocities[filled])


def in_range(boxes: np.ndarray, point_range: Sequence[float]) -> np.ndarray:
    """Mark boxes centred in the range, its upper end excluded: (M,) bool.

    Args:
        boxes: (M, 7).
        point_range: lowest and highest x, y, z.
    """
    low, high = np.asarray(point_range[:3]), np.asarray(point_range[3:])
    with np.errstate(invalid="ignore"):
        return np.all((boxes[:, :3] >= low) & (boxes[:, :3] < high), axis=1)
