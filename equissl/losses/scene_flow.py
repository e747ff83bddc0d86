"""Equivariance to scene flow: features of a sweep, moved by the flow, are those of the next (Hegde et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import check_pair, full_precision, unit_norm


@full_precision
def warp_features(features: Tensor, source: Tensor, destination: Tensor) -> tuple[Tensor, Tensor]:
    """Carry features along the flow of points: each reached cell gets the mean over the points that arrive there.

    The order of the points means nothing, to the last bit.

    Args:
        features: (N, C) of the cells of the first sweep.
        source: (P,) cell that each point starts from; -1 for a point without one.
        destination: (P,) cell of the second sweep that each point reaches; -1 likewise.

    Returns:
        the reached cells (M,), ascending, and their features (M, C).

    Raises:
        ValueError: for shapes that do not fit.
    """
    if features.ndim != 2 or source.ndim != 1 or source.shape != destination.shape:
        raise ValueError(
            f"expected features (N, C) with source and destination (P,), got {tuple(features.shape)}, "
            f"{tuple(source.shape)} and {tuple(destination.shape)}"
        )
    kept = (source >= 0) & (destination >= 0)
    # many points share both cells: each such way is summed once, with its number of points
    ways = destination[kept] * max(len(features), 1) + source[kept]
    ways, points = torch.unique(ways, sorted=True, return_counts=True)
    start, end = ways % max(len(features), 1), ways.div(max(len(features), 1), rounding_mode="floor")
    reached, row, count = torch.unique_consecutive(end, return_inverse=True, return_counts=True)
    arriving = torch.zeros(len(reached), dtype=points.dtype, device=points.device).index_add(0, row, points)
    share = (points / arriving[row]).to(features.dtype)
    return reached, _segment_sum(features[start] * share[:, None], count)


@full_precision
def flow_distance(targets: Tensor, predictions: Tensor, normalise: bool = True) -> Tensor:
    """Compute the squared distance of each cell's warped target and online prediction.

    Args:
        targets: (M, D); no gradient reaches them.
        predictions: (M, D).
        normalise: compare unit vectors; the distance is then in [0, 4], and 2 on average for random ones.

    Returns:
        (M,).

    Raises:
        ValueError: for shapes that differ.
    """
    check_pair("targets", targets, "predictions", predictions, ndim=2)
    targets = targets.detach()
    if normalise:
        targets, predictions = unit_norm(targets), unit_norm(predictions)
    return (targets - predictions).square().sum(dim=1)


def _segment_sum(rows: Tensor, counts: Tensor) -> Tensor:
    """Sums of consecutive rows, in a fixed order on any device."""
    if len(counts) == 0:
        return rows
    return torch.segment_reduce(rows, "sum", lengths=counts, axis=0)
