"""What a predictor is told about the change from one view to another."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.datasets.batch import ViewBatch
from equissl.geometry import QuaternionSign

# Each part's value when nothing changes.
_IDENTITY: dict[str, tuple[float, ...]] = {
    "quaternion": (0.0, 0.0, 0.0, 1.0),
    "rotmat": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    "hue": (0.0, 0.0),
}


class Action:
    """Numbers that describe an action, for a predictor.

    Args:
        kind: parts joined by ``+``: ``quaternion`` (4 numbers, as published), ``rotmat`` (9, in which a linear
            hypernetwork can hold an exact vector representation of SO(3)) and ``hue`` (2, differences of floor and
            light hue; ``quaternion+hue`` is the published rotation-and-colour action).
        sign: which of the two quaternions of a rotation, see :func:`equissl.geometry.relative_unitquat`.

    Raises:
        ValueError: for an unknown part.
    """

    def __init__(self, kind: str = "quaternion", sign: QuaternionSign = "canonical") -> None:
        self.parts, self.sign = kind.split("+"), sign
        if unknown := [part for part in self.parts if part not in _IDENTITY]:
            raise ValueError(f"expected action to join some of {list(_IDENTITY)} by '+', got {kind!r} ({unknown[0]!r})")

    @property
    def identity(self) -> tuple[float, ...]:
        """What it is when nothing changes."""
        return sum((_IDENTITY[part] for part in self.parts), ())

    @property
    def dim(self) -> int:
        return len(self.identity)

    def __call__(self, batch: ViewBatch, first: int = 0, second: int = 1) -> Tensor:
        """(B, dim) actions from view ``first`` to view ``second``, in float64 or as the batch has them."""
        return torch.cat([self._part(part, batch, first, second) for part in self.parts], dim=1)

    def _part(self, part: str, batch: ViewBatch, first: int, second: int) -> Tensor:
        if part == "quaternion":
            return batch.relative_quats(first, second, sign=self.sign)
        if part == "rotmat":
            return batch.relative_rotations(first, second).flatten(1)
        return batch.hue_differences(first, second)
