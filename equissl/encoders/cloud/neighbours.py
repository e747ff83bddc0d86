"""Centres of clouds, and the nearest points of each."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Centres = Literal["spread", "farthest", "all"]

ELEMENTS = 2**24  # of a block of squared distances


def choose_centres(points: Tensor, count: int, choice: Centres = "spread") -> Tensor:
    """Choose the points (N, M) of clouds that stand for their surroundings.

    Args:
        points: (N, P, 3).
        count: M; clouds of fewer points give all of theirs.
        choice: ``spread`` takes every (P / M)-th point in the order of the cloud: of points sampled independently these
            are a sample too, and they stay the same when the cloud is turned. ``farthest`` is `farthest_points`: even
            on the surface and independent of the order, but rounding may decide between two points nearly as far, so
            that a turned cloud in float32 may get others. ``all`` takes all points.

    Raises:
        ValueError: for an unknown choice, or a count below 1.
    """
    if choice not in get_args(Centres) or count < 1:
        raise ValueError(f"expected a choice of {get_args(Centres)} and a count above 0, got {choice!r} and {count}")
    batch, number, _ = points.shape
    if choice == "all" or count >= number:
        return torch.arange(number, device=points.device).expand(batch, -1)
    if choice == "farthest":
        return farthest_points(points, count)
    return (torch.arange(count, device=points.device) * number).div(count, rounding_mode="floor").expand(batch, -1)


@torch.no_grad()
def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose points (N, M), each the farthest from all before it (Eldar et al. 1997; Qi et al., PointNet++, 2017).

    The first is the farthest from the mean, so that neither a draw nor the order of the points matters.

    Args:
        points: (N, P, 3).
        count: M, at most P.

    Raises:
        ValueError: for a count outside 1..P.
    """
    batch, number, _ = points.shape
    if not 1 <= count <= number:
        raise ValueError(f"expected a count in 1..{number}, got {count}")
    rows = torch.arange(batch, device=points.device)
    chosen = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    last = (points - points.mean(dim=1, keepdim=True)).square().sum(dim=2).argmax(dim=1)
    distance = points.new_full((batch, number), float("inf"))
    for step in range(count):
        chosen[:, step] = last
        distance = torch.minimum(distance, (points - points[rows, last][:, None]).square().sum(dim=2))
        last = distance.argmax(dim=1)
    return chosen


@torch.no_grad()
def nearest(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Find the nearest points (N, M, k) of each query, in no particular order.

    Ranked in float64: in float32 the difference of two large products would pick wrong ones among close neighbours.

    Args:
        queries: (N, M, 3).
        points: (N, P, 3).
        count: k, at most P.

    Raises:
        ValueError: for a count outside 1..P.
    """
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"expected 1 to {points.shape[1]} neighbours, got {count}")
    step = max(1, ELEMENTS // (queries.shape[1] * points.shape[1]))
    found = []
    for some, cloud in zip(queries.double().split(step), points.double().split(step), strict=True):
        # the query's own square is the same for all points
        ranks = torch.baddbmm(cloud.square().sum(dim=2)[:, None], some, cloud.mT, alpha=-2)
        found.append(ranks.topk(count, dim=2, largest=False, sorted=False).indices)
    return torch.cat(found)


def take(values: Tensor, indices: Tensor) -> Tensor:
    """Take the rows (N, ..., F) of ``values`` (N, P, F) that ``indices`` (N, ...) name within each cloud.

    Args:
        values: (N, P, F).
        indices: (N, ...) in [0, P).
    """
    batch, number, width = values.shape
    start = torch.arange(batch, device=values.device).view(-1, *[1] * (indices.ndim - 1)) * number
    return values.reshape(-1, width).index_select(0, (indices + start).flatten()).view(*indices.shape, width)
