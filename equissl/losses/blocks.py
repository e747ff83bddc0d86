"""Blockwise work on many rows, so that no large table is ever held at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from equissl.losses import similarity


def in_blocks(block: Callable[[slice], Tensor], count: int, elements: int) -> Tensor:
    """``block(slice(0, count))``, in several blocks where that would exceed `similarity.TABLE_ELEMENTS` elements.

    Args:
        block: computes the results (n, ...) of a slice of n rows; it must not draw random numbers, because the
            backward pass computes it again.
        count: number of rows.
        elements: size of the tables that one row needs.

    Returns:
        (count, ...) results, in order.
    """
    step = max(1, similarity.TABLE_ELEMENTS // max(1, elements))
    if count <= step:
        return block(slice(0, count))
    blocks = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    if not torch.is_grad_enabled():
        return torch.cat([block(rows) for rows in blocks])
    return torch.cat([checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False) for rows in blocks])
