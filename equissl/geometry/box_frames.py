"""Reference frames of upright boxes: origin at the centre, x along the heading, z up."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.geometry.boxes import turn_xy


def to_box_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Express points in the reference frames of boxes; batch dimensions broadcast.

    Args:
        points: (..., 3).
        boxes: (..., 7).
    """
    offset = points - boxes[..., :3]
    return torch.cat([turn_xy(offset[..., :2], -boxes[..., 6]), offset[..., 2:]], dim=-1)


def from_box_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Invert `to_box_frame`.

    Args:
        points: (..., 3) in the boxes' reference frames.
        boxes: (..., 7).
    """
    return torch.cat([turn_xy(points[..., :2], boxes[..., 6]), points[..., 2:]], dim=-1) + boxes[..., :3]


def box_grid(boxes: Tensor, count: int) -> Tensor:
    """Compute the centres of the cells into which boxes are divided evenly.

    Args:
        boxes: (R, 7).
        count: cells along each side.

    Returns:
        (R, count³, 3) x, y, z; z runs fastest in the order of the cells, x slowest.
    """
    along = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count - 0.5
    unit = torch.cartesian_prod(along, along, along).view(-1, 3)
    return from_box_frame(unit * boxes[:, None, 3:6], boxes[:, None])
