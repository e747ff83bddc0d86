"""Search for the most similar negatives of each anchor."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from equissl.losses import similarity


def kept_negatives(hardest: int | float, available: int) -> int:
    """Count the negatives to keep: ``hardest`` itself, or that fraction of those available, rounded up, for a float.

    Args:
        hardest: a number, or a fraction in (0, 1].
        available: negatives of an anchor.

    Raises:
        ValueError: for a number outside of [1, available] or a fraction outside of (0, 1].
    """
    if isinstance(hardest, float):
        if not 0 < hardest <= 1:
            raise ValueError(f"expected a fraction of negatives in (0, 1], got {hardest}")
        return math.ceil(hardest * available)
    if not 1 <= hardest <= available:
        raise ValueError(f"expected between 1 and {available} negatives (batch size minus 1), got {hardest}")
    return hardest


def nearest(queries: Tensor, keys: Tensor, count: int, tables: int = 1) -> Tensor:
    """Find the largest cosines of each query with the keys of other rows.

    The choice has no gradient, the cosines have. Tables beyond the common limit on memory are built block by
    block, and again in the backward.

    Args:
        queries: (B, D) unit vectors.
        keys: (B, D) unit vectors; row i belongs to query i, which does not see it.
        count: how many, at most B - 1.
        tables: how many tables of this size the objective builds, which share the limit on memory.

    Returns:
        (B, count), in no particular order.
    """
    rows = len(queries)
    limited = tables * rows * rows > similarity.TABLE_ELEMENTS
    step = max(1, similarity.TABLE_ELEMENTS // rows) if limited else rows
    own = torch.arange(rows, device=queries.device)[:, None]

    def block(start: int) -> Tensor:
        part = slice(start, start + step)
        cosines = (queries[part] @ keys.T).scatter(1, own[part], float("-inf"))
        return cosines.topk(count, dim=1, sorted=False).values

    if not limited:
        return block(0)
    starts = range(0, rows, step)
    return torch.cat([checkpoint(block, s, use_reentrant=False, preserve_rng_state=False) for s in starts])
