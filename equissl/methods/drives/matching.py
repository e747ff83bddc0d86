"""Matching of the sites of two encoded sweeps, by the points that both have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from equissl.encoders.voxel import SweepFeatures, VoxelEncoder, locate, locate_points
from equissl.sparse import SparseTensor


def point_sites(encoded: SweepFeatures, stage: str) -> tuple[Tensor, ...]:
    """Find the row (P,) of a stage's features that each point of each cloud belongs to; -1 for none.

    Args:
        encoded: features of the batch.
        stage: its name.
    """
    return locate_points(encoded.stage(stage), encoded.voxels).split(list(encoded.voxels.sizes))


def sites_at(encoder: VoxelEncoder, stage: SparseTensor, points: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Find the row (P,) of a stage's features at any positions in each grid; -1 out of range or where nothing is.

    Args:
        encoder: encoder of the features.
        stage: features of the stage.
        points: (P, 3+) of each grid.
    """
    sizes = [len(positions) for positions in points]
    index, inside = encoder.grid.locate(torch.cat([positions[:, :3] for positions in points]))
    cloud = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(index.device)
    rows = locate(stage, torch.cat([cloud[:, None], index], dim=1))
    return torch.where(inside, rows, -1).split(sizes)


def match_sites(first: Tensor, second: Tensor, most: int, seed: int, deduplicate: bool = True) -> tuple[Tensor, Tensor]:
    """Match sites that share a point, in random order.

    Args:
        first: (P,) site of each point in one view; -1 where the point was dropped.
        second: (P,) its site in the other view.
        most: K; so many of the pairs are drawn.
        seed: seed of the draw.
        deduplicate: a site stands in one pair at most, or else it would be its own negative. Without, every point
            makes a pair.

    Returns:
        rows (K',) in the first and (K',) in the second view, K' <= K.

    Raises:
        ValueError: for sites of different numbers of points.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected sites (P,) of the same points, got {tuple(first.shape)} and {tuple(second.shape)}")
    both = (first >= 0) & (second >= 0)
    first, second = first[both], second[both]
    if deduplicate:
        pairs = torch.unique(first << 32 | second)
        first, second = pairs >> 32, pairs & 0xFFFFFFFF
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed)).to(first.device)
    first, second = first[order], second[order]
    if deduplicate:
        fresh = _first_of_each(first)
        first, second = first[fresh], second[fresh]
        fresh = _first_of_each(second)
        first, second = first[fresh], second[fresh]
    return first[:most], second[:most]


def match_pairs(
    first: Sequence[Tensor], second: Sequence[Tensor], most: int, seeds: Iterable[int], deduplicate: bool = True
) -> list[tuple[Tensor, Tensor]]:
    """Match the sites of each pair of a batch, see `match_sites`.

    Args:
        first: (P,) rows of each pair's first view.
        second: (P,) rows of its second view.
        most: matches of a pair.
        seeds: seeds of the draws, one for each pair.
        deduplicate: a site stands in one match at most.
    """
    return [match_sites(a, b, most, seed, deduplicate) for a, b, seed in zip(first, second, seeds, strict=True)]


def _first_of_each(values: Tensor) -> Tensor:
    """Mask of the first occurrence of every value (N,) >= 0."""
    position = torch.arange(len(values), device=values.device)
    if len(values) == 0:
        return position.bool()
    first = torch.full((int(values.max()) + 1,), len(values), dtype=position.dtype, device=values.device)
    first = first.scatter_reduce(0, values.long(), position, "amin")
    return first[values] == position
