"""Box codes: offsets from anchors, and the direction along a box's axis (SECOND, Yan et al., 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.geometry.box_frames import from_box_frame, to_box_frame

DIRECTIONS = 2
OFFSET = 0.78539  # radians; the bins' border lies between the anchors' two headings, as in OpenPCDet's recipes
_SMALLEST = 1e-5


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode boxes relative to anchors.

    x and y by the anchor's diagonal, z by its height, sizes as logarithms of ratios, the heading as a difference.

    Args:
        boxes: (..., 7) x, y, z, dx, dy, dz, heading.
        anchors: (..., 7).

    Returns:
        (..., 7).
    """
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    unit = torch.cat([diagonal, diagonal, anchors[..., 5:6]], dim=-1)
    shift = (boxes[..., :3] - anchors[..., :3]) / unit
    ratio = (boxes[..., 3:6].clamp(min=_SMALLEST) / anchors[..., 3:6]).log()
    return torch.cat([shift, ratio, boxes[..., 6:] - anchors[..., 6:]], dim=-1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """Decode boxes (..., 7) from residual codes; the inverse of `encode_boxes`.

    Args:
        codes: (..., 7).
        anchors: (..., 7).
    """
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    unit = torch.cat([diagonal, diagonal, anchors[..., 5:6]], dim=-1)
    centre = codes[..., :3] * unit + anchors[..., :3]
    size = codes[..., 3:6].exp() * anchors[..., 3:6]
    return torch.cat([centre, size, codes[..., 6:] + anchors[..., 6:]], dim=-1)


def encode_refinement(boxes: Tensor, rois: Tensor) -> Tensor:
    """Residual codes of boxes seen from the frames of regions, up to a half turn: headings differ by at most π/2.

    Args:
        boxes: (..., 7) x, y, z, dx, dy, dz, heading.
        rois: (..., 7) regions of interest.

    Returns:
        (..., 7) as of `encode_boxes`.
    """
    heading = limit_period(boxes[..., 6:] - rois[..., 6:], 0.5, math.pi)
    return encode_boxes(torch.cat([to_box_frame(boxes[..., :3], rois), boxes[..., 3:6], heading], dim=-1), _own(rois))


def decode_refinement(codes: Tensor, rois: Tensor) -> Tensor:
    """Decode boxes (..., 7) from codes in the regions' reference frames; inverts `encode_refinement` up to half turns.

    Args:
        codes: (..., 7).
        rois: (..., 7).
    """
    seen = decode_boxes(codes, _own(rois))
    return torch.cat([from_box_frame(seen[..., :3], rois), seen[..., 3:6], seen[..., 6:] + rois[..., 6:]], dim=-1)


def _own(rois: Tensor) -> Tensor:
    """Regions as they see themselves."""
    zeros = torch.zeros_like(rois)
    return torch.cat([zeros[..., :3], rois[..., 3:6], zeros[..., 6:]], dim=-1)


def limit_period(value: Tensor, offset: float, period: float) -> Tensor:
    """Move ``value`` by whole periods into ``[-offset · period, (1 - offset) · period)``.

    Args:
        value: of any shape.
        offset: the interval begins at minus so many periods.
        period: length of the interval.
    """
    return value - (value / period + offset).floor() * period


def direction_bin(heading: Tensor) -> Tensor:
    """Compute which of the two directions along its axis a heading has: int64, 0 or 1."""
    turned = limit_period(heading - OFFSET, 0.0, 2 * math.pi)
    return (turned / math.pi).floor().long().clamp(0, DIRECTIONS - 1)


def point_along(heading: Tensor, direction: Tensor) -> Tensor:
    """Return the heading along the same axis whose direction is that bin.

    Args:
        heading: (...) radians.
        direction: (...) 0 or 1, see `direction_bin`.
    """
    return limit_period(heading - OFFSET, 0.0, math.pi) + OFFSET + math.pi * direction.to(heading.dtype)
