"""Anchors over the ground, and which objects they answer for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.datasets.sweeps.object_classes import KITTI_CLASSES, ObjectClass
from equissl.geometry.boxes import aligned_bev_iou

ROTATIONS = (0.0, 1.57)
BACKGROUND, IGNORED = -1, -2


@dataclass(frozen=True, kw_only=True)
class AnchorClass(ObjectClass):
    """A class with its anchor.

    Attributes:
        size: length, width, height of the anchor, metres.
        bottom: z of its bottom, metres from the sensor.
        matched: an anchor with at least this overlap with an object answers for it.
        unmatched: one with less than this with every object is background; between the two it is left out.

    Raises:
        ValueError: for sizes that are not positive, or thresholds out of order.
    """

    size: tuple[float, float, float]
    bottom: float
    matched: float = 0.6
    unmatched: float = 0.45

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.size) <= 0 or not 0 <= self.unmatched <= self.matched <= 1:
            raise ValueError(f"expected positive sizes and 0 <= unmatched <= matched <= 1, got {self}")


KITTI_ANCHORS = (
    AnchorClass(**vars(KITTI_CLASSES[0]), size=(3.9, 1.6, 1.56), bottom=-1.78),
    AnchorClass(**vars(KITTI_CLASSES[1]), size=(0.8, 0.6, 1.73), bottom=-0.6, matched=0.5, unmatched=0.35),
    AnchorClass(**vars(KITTI_CLASSES[2]), size=(1.76, 0.6, 1.73), bottom=-0.6, matched=0.5, unmatched=0.35),
)


def make_anchors(classes: Sequence[AnchorClass], point_range: Sequence[float], cells: tuple[int, int]) -> Tensor:
    """Make the anchors (Y, X, C, 2, 7) of every cell, class and rotation.

    Their centres are spread evenly from one end of the range to the other, both included, as in OpenPCDet: neighbours
    are a little further apart than cells.

    Args:
        classes: C of them.
        point_range: lowest x, y, z and highest x, y, z.
        cells: cells of the map along y, x; at least 2 each.
    """
    low, high = point_range[:3], point_range[3:]
    x = torch.linspace(low[0], high[0], cells[1], dtype=torch.float64)
    y = torch.linspace(low[1], high[1], cells[0], dtype=torch.float64)
    anchors = torch.zeros(*cells, len(classes), len(ROTATIONS), 7, dtype=torch.float64)
    anchors[..., 0], anchors[..., 1] = x[None, :, None, None], y[:, None, None, None]
    anchors[..., 2] = torch.tensor([c.bottom + c.size[2] / 2 for c in classes], dtype=torch.float64)[:, None]
    anchors[..., 3:6] = torch.tensor([c.size for c in classes], dtype=torch.float64)[:, None]
    anchors[..., 6] = torch.tensor(ROTATIONS, dtype=torch.float64)
    return anchors.float()


def assign_objects(anchors: Tensor, boxes: Tensor, matched: float, unmatched: float) -> Tensor:
    """Assign objects to the anchors of one class.

    Overlaps are those of `aligned_bev_iou`. The best anchor of an object answers for it whatever their overlap, where
    there is any; ties all do. Every such anchor answers for the object that *it* overlaps most.

    Args:
        anchors: (A, 7).
        boxes: (M, 7) objects of that class.
        matched, unmatched: thresholds, see `AnchorClass`.

    Returns:
        (A,) int64 row of ``boxes``, `BACKGROUND`, or `IGNORED` for anchors that are left out.
    """
    if len(boxes) == 0:
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    overlap = aligned_bev_iou(anchors, boxes)
    best, choice = overlap.max(dim=1)
    highest = overlap.amax(dim=0)
    forced = ((overlap == highest) & (highest > 0)).any(dim=1)
    assigned = torch.where(best < unmatched, BACKGROUND, IGNORED)
    return torch.where(forced | (best >= matched), choice, assigned)
