"""Upright boxes (x, y, z, dx, dy, dz, heading): corners, points inside, exact rotated overlaps, suppression.

Centre based, metres; dx is the length along the heading, which is counter-clockwise about +z from +x and may lie
outside of ±π. Every function works in the precision and on the device of its input; overlaps are differentiable.

**What is no box.** A negative size counts as zero, and a box without area or volume overlaps nothing. A row with a
number that is not finite overlaps nothing and is never kept by the suppression.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 1 << 20  # pairs looked at in one go
CANDIDATES = 1 << 14  # pairs whose overlap is computed in one go: they fit into the cache
SUPPRESSION_BLOCK = 512
# counter-clockwise from the front left, in halves of (dx, dy)
CORNERS = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))

Overlap = Callable[[Tensor, Tensor], Tensor]


def limit_heading(angle: Tensor) -> Tensor:
    """Angles brought into [-π, π) by whole turns; those that are there already stay as they are, bit by bit."""
    turned = angle - 2 * math.pi * torch.floor((angle + math.pi) / (2 * math.pi))
    # rounding may end on either side of the seam
    return torch.where((turned >= math.pi) | (turned < -math.pi), turned.new_tensor(-math.pi), turned)


def turn_xy(xy: Tensor, angle: Tensor) -> Tensor:
    """Rotate vectors counter-clockwise.

    Args:
        xy: (..., 2).
        angle: (...) radians.
    """
    cos, sin, (x, y) = angle.cos(), angle.sin(), xy.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def bev_corners(boxes: Tensor) -> Tensor:
    """Compute the corners seen from above, counter-clockwise from the front left.

    Args:
        boxes: (..., 7).

    Returns:
        (..., 4, 2) x and y.
    """
    _check("boxes", boxes)
    return _offsets(boxes[..., 3:5], boxes[..., 6]) + boxes[..., None, :2]


def box_corners(boxes: Tensor) -> Tensor:
    """(..., 8, 3) corners of boxes (..., 7): those of :func:`bev_corners` at the bottom, then at the top."""
    flat = bev_corners(boxes)
    heights = boxes[..., 2:3] + boxes[..., 5:6] * boxes.new_tensor((-0.5, 0.5))
    levels = [torch.cat((flat, z[..., None, None].expand(*flat.shape[:-1], 1)), dim=-1) for z in heights.unbind(-1)]
    return torch.cat(levels, dim=-2)


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Return True for points inside of boxes, the surface included.

    Args:
        points: (N, 3 or more), the first three x, y, z.
        boxes: (M, 7).

    Returns:
        (N, M) bool.

    Raises:
        ValueError: for other shapes.
    """
    _check("boxes", boxes, rows=True)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"expected points of shape (N, 3 or more), got {tuple(points.shape)}")
    half, heading = boxes[:, 3:6] / 2, boxes[:, 6]

    def inside(block: Tensor) -> Tensor:
        offset = block[:, None, :3] - boxes[:, :3]
        flat = turn_xy(offset[..., :2], -heading)
        return (flat.abs() <= half[:, :2]).all(dim=-1) & (offset[..., 2].abs() <= half[:, 2])

    return _in_blocks(inside, points, len(boxes))


def paired_bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection over union, seen from above, of each box with its partner.

    Args:
        a: (..., 7).
        b: (..., 7); batch dimensions broadcast.

    Returns:
        (...) in [0, 1].
    """
    a, b = _boxes(a), _boxes(b)
    return _over_union(_bev_intersection(a, b), a[..., 3] * a[..., 4], b[..., 3] * b[..., 4])


def paired_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection over union of the volumes of each box with its partner.

    Args:
        a: boxes, see :func:`paired_bev_iou`.
        b: their partners.
    """
    a, b = _boxes(a), _boxes(b)
    # heights relative to a's centre: far from the origin no digits are lost
    shift, half_a, half_b = b[..., 2] - a[..., 2], a[..., 5] / 2, b[..., 5] / 2
    height = (torch.minimum(half_a, shift + half_b) - torch.maximum(-half_a, shift - half_b)).clamp(min=0)
    return _over_union(_bev_intersection(a, b) * height, a[..., 3:6].prod(dim=-1), b[..., 3:6].prod(dim=-1))


def bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the exact rotated intersection over union, seen from above: (N, M).

    Args:
        a: (N, 7) boxes.
        b: (M, 7) boxes.
    """
    return _pairwise(paired_bev_iou, a, b)


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Compute the exact intersection over union of volumes: (N, M).

    Args:
        a: (N, 7) boxes.
        b: (M, 7) boxes.
    """
    return _pairwise(paired_iou_3d, a, b)


def aligned_bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute (N, M) intersection over union from above, each heading snapped to the nearest multiple of 90°.

    The overlap by which anchors are matched to boxes in SECOND (Yan et al., Sensors 2018).

    Args:
        a: (N, 7) boxes.
        b: (M, 7) boxes.
    """
    low_a, high_a = _aligned_extent(_boxes(a, rows=True))
    low_b, high_b = _aligned_extent(_boxes(b, rows=True))
    area_b = (high_b - low_b).prod(dim=-1)

    def overlap(extent: Tensor) -> Tensor:
        low, high = extent[:, None, :2], extent[:, None, 2:]
        sides = (torch.minimum(high, high_b) - torch.maximum(low, low_b)).clamp(min=0)
        return _over_union(sides.prod(dim=-1), (high - low).prod(dim=-1), area_b)

    return _in_blocks(overlap, torch.cat((low_a, high_a), dim=1), len(b))


def rotated_nms(boxes: Tensor, scores: Tensor, threshold: float, max_out: int | None = None) -> Tensor:
    """Suppress non-maxima greedily by rotated overlap from above.

    Args:
        boxes: (N, 7).
        scores: (N,); among equal ones the first comes first. NaN is never kept.
        threshold: a box goes when its overlap with a kept one of higher score is larger.
        max_out: how many to keep at most.

    Returns:
        (K,) int64 indices of those that stay, by falling score.

    Raises:
        ValueError: for other shapes.
    """
    _check("boxes", boxes, rows=True)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"expected scores of shape ({len(boxes)},), got {tuple(scores.shape)}")
    boxes = boxes.detach()
    order = scores.detach().argsort(descending=True, stable=True)
    order = order[(boxes.isfinite().all(dim=1) & ~scores.isnan())[order]]
    kept = order[:0]
    for block in order.split(SUPPRESSION_BLOCK):
        free = block[~(bev_iou(boxes[block], boxes[kept]) > threshold).any(dim=1)]
        kept = torch.cat((kept, free[_undominated(bev_iou(boxes[free], boxes[free]) > threshold)]))
        if max_out is not None and len(kept) >= max_out:
            break
    return kept[:max_out]


def _undominated(overlaps: Tensor) -> Tensor:
    """(n,) bool: those that no kept one before them overlaps, of (n, n) bool.

    Repeating the rule settles one more link of every chain of overlaps each time, so it ends at the greedy answer.
    """
    before = overlaps.tril(-1)
    kept = torch.ones_like(before[:, 0]) if len(before) else before.new_zeros(0)
    while True:
        next_kept = ~(before & kept).any(dim=1)
        if torch.equal(next_kept, kept):
            return kept
        kept = next_kept


def _bev_intersection(a: Tensor, b: Tensor) -> Tensor:
    """(...) area common to two rectangles, seen from above.

    In b's own frame, clamping every point of a's boundary to b leaves a closed curve around just the common area, for
    a slice of a from y0 to y1 meets b over clamp(y1) - clamp(y0). So the area is minus the integral of clamp(y) dx
    along the part of a's four edges with x in b. There are no vertices to find, sort or tell apart; the sum changes no
    faster than the corners do, whence touching, equal and nearly parallel edges need no care.
    """
    centre = turn_xy((a - b)[..., None, :2], -b[..., 6, None])
    corners = _offsets(a[..., 3:5], a[..., 6] - b[..., 6]) + centre
    half_x, half_y = b[..., 3, None] / 2, b[..., 4, None] / 2
    (x0, y0), (x1, y1) = corners.unbind(-1), corners.roll(-1, dims=-2).unbind(-1)
    left, right = x0.clamp(-half_x, half_x), x1.clamp(-half_x, half_x)
    start, end = (y0 + _share(x - x0, x1 - x0) * (y1 - y0) for x in (left, right))
    area = ((left - right) * _mean_clamped(start, end, half_y)).sum(dim=-1)
    # what rounding leaves of boxes that are apart or touch
    extent_a, extent_b = a[..., 3] + a[..., 4], b[..., 3] + b[..., 4]
    least = torch.finfo(area.dtype).eps * (extent_a + extent_b) * torch.minimum(extent_a, extent_b)
    return torch.where(area > least, area, torch.zeros_like(area))


def _mean_clamped(start: Tensor, end: Tensor, half: Tensor) -> Tensor:
    """Mean of clamp(y, -half, half) while y goes evenly from start to end."""
    reached = sum(_share(bound - start, end - start) for bound in (-half, half)) / 2
    low, high = start.clamp(-half, half), end.clamp(-half, half)
    return high + (low - high) * reached


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole within [0, 1]; any number in it where the whole vanishes, with a gradient that does not overflow."""
    smallest = torch.finfo(whole.dtype).tiny ** 0.25
    return (part / torch.where(whole.abs() < smallest, torch.ones_like(whole), whole)).clamp(0, 1)


def _over_union(intersection: Tensor, size_a: Tensor, size_b: Tensor) -> Tensor:
    # nested boxes: rounding must not make the part larger than the whole
    intersection = torch.minimum(intersection, torch.minimum(size_a, size_b))
    union = size_a + size_b - intersection
    # without extent there is nothing to share, and a quotient's gradient would overflow
    return intersection / torch.where(union < torch.finfo(union.dtype).tiny ** 0.5, torch.ones_like(union), union)


def _aligned_extent(boxes: Tensor) -> tuple[Tensor, Tensor]:
    heading = boxes[:, 6] - math.pi * torch.floor(boxes[:, 6] / math.pi + 0.5)
    along = (heading.abs() < math.pi / 4)[:, None]
    half = torch.where(along, boxes[:, 3:5], boxes[:, [4, 3]]) / 2
    return boxes[:, :2] - half, boxes[:, :2] + half


def _pairwise(overlap: Overlap, a: Tensor, b: Tensor) -> Tensor:
    """(N, M) of a paired function that is zero for boxes whose surrounding circles do not meet."""
    a, b = _boxes(a, rows=True), _boxes(b, rows=True)
    reach_b = b[:, 3:5].norm(dim=1) / 2

    def block(rows: Tensor) -> Tensor:
        reach = rows[:, None, 3:5].norm(dim=2) / 2 + reach_b
        i, j = ((rows[:, None, :2] - b[:, :2]).square().sum(dim=-1) < reach.square()).nonzero(as_tuple=True)
        parts = zip(i.split(CANDIDATES), j.split(CANDIDATES), strict=True)
        values = torch.cat([overlap(rows[k], b[m]) for k, m in parts])
        return values.new_zeros(len(rows), len(b)).index_put((i, j), values)

    return _in_blocks(block, a, len(b))


def _in_blocks(function: Callable[[Tensor], Tensor], rows: Tensor, columns: int) -> Tensor:
    """``function`` of all rows, in blocks of a bounded number of pairs with the columns."""
    blocks = rows.split(max(1, BLOCK // max(1, columns)))
    return function(rows) if len(blocks) == 1 else torch.cat([function(block) for block in blocks])


def _offsets(size: Tensor, heading: Tensor) -> Tensor:
    """(..., 4, 2) from the centre to the corners."""
    return turn_xy(size[..., None, :] * size.new_tensor(CORNERS) / 2, heading[..., None])


def _boxes(boxes: Tensor, rows: bool = False) -> Tensor:
    """Checked, in single precision at least, without what is no box (see the module)."""
    _check("boxes", boxes, rows)
    boxes = boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
    boxes = torch.where(boxes.isfinite().all(dim=-1, keepdim=True), boxes, torch.zeros_like(boxes))
    return torch.cat((boxes[..., :3], boxes[..., 3:6].clamp(min=0), boxes[..., 6:]), dim=-1)


def _check(name: str, boxes: Tensor, rows: bool = False) -> None:
    if boxes.shape[-1:] != (7,) or (rows and boxes.ndim != 2) or not boxes.is_floating_point():
        shape = "(N, 7)" if rows else "(..., 7)"
        raise ValueError(f"expected {name} of shape {shape} in floating point, got {tuple(boxes.shape)} {boxes.dtype}")
