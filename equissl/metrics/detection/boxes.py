"""Detected and labelled boxes of a sweep: tensors with one row for each box."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

# What a column that was not given counts as: a box that nothing keeps out of the score.
FILL = {
    "height2d": math.inf,
    "occlusion": 0.0,
    "truncation": 0.0,
    "num_points": math.inf,
    "ignore": 0.0,
    "velocity": math.nan,
    "attributes": -1.0,
}
WIDTH = {"boxes": 7, "velocity": 2}


class _Rows:
    """Columns of equal length, some of them optional."""

    def __post_init__(self) -> None:
        count = len(self)
        for name, value in vars(self).items():
            expected = (count, WIDTH[name]) if name in WIDTH else (count,)
            if name != "racks" and value is not None and value.shape != expected:
                raise ValueError(f"expected {name} of shape {expected}, got {tuple(value.shape)}")

    def __len__(self) -> int:
        return len(self.boxes)  # type: ignore[attr-defined]

    def select(self, chosen: Tensor) -> Self:
        """Some of the boxes, by index or mask."""
        columns = {name: value[chosen] for name, value in vars(self).items() if name != "racks" and value is not None}
        return replace(self, **columns)  # type: ignore[type-var]

    def columns(self, names: tuple[str, ...]) -> Tensor:
        """(N, columns) float64 on the CPU: the named ones side by side, filled where they were not given."""
        return torch.cat([self._column(name) for name in names], dim=1)

    def _column(self, name: str) -> Tensor:
        value, width = getattr(self, name), WIDTH.get(name, 1)
        if value is None:
            return torch.full((len(self), width), FILL[name], dtype=torch.float64)
        return value.detach().cpu().double().reshape(len(self), width)


@dataclass(frozen=True)
class DetectedBoxes(_Rows):
    """N predictions of one sweep.

    Attributes:
        boxes: (N, 7) x, y, z of the centre, dx, dy, dz, heading.
        scores: (N,) larger is surer.
        labels: (N,) integer index into the metric's classes; -1 for another class, which is not scored.
        height2d: (N,) pixels from top to bottom of the box in the picture; without it none is too small.
        velocity: (N, 2) metres a second, along x and y of the boxes' frame.
        attributes: (N,) integer attribute (such as parked or moving); -1 for none.

    Raises:
        ValueError: for columns of other shapes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    height2d: Tensor | None = None
    velocity: Tensor | None = None
    attributes: Tensor | None = None


@dataclass(frozen=True)
class LabelledBoxes(_Rows):
    """M labels of one sweep.

    Attributes:
        boxes: (M, 7) as those of the predictions, in the same frame.
        labels: (M,) integer index into the metric's classes; -1 for another class, which is not scored.
        ignore: (M,) bool: a prediction on it is neither right nor wrong, and to miss it costs nothing; such as a van
            where cars are scored.
        height2d: (M,) pixels from top to bottom of the box in the picture.
        occlusion: (M,) KITTI's levels: 0 visible, 1 partly, 2 largely occluded, 3 unknown.
        truncation: (M,) share outside of the picture, 0 to 1.
        num_points: (M,) LiDAR points inside.
        velocity: (M, 2) metres a second; NaN where unknown.
        attributes: (M,) integer attribute; -1 for none.
        racks: (R, 7) regions in which bicycles and motorcycles, found or labelled, do not count.

    Raises:
        ValueError: for columns of other shapes.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor | None = None
    height2d: Tensor | None = None
    occlusion: Tensor | None = None
    truncation: Tensor | None = None
    num_points: Tensor | None = None
    velocity: Tensor | None = None
    attributes: Tensor | None = None
    racks: Tensor | None = None

    @classmethod
    def empty(cls) -> LabelledBoxes:
        """Return the labels of a sweep without objects."""
        return cls(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))
