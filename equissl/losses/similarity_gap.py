"""Regulariser of learned views: a limit on how far positives and negatives may be apart (MCLRec, arXiv 2306.03448)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import check_batch, check_pair, full_precision


@full_precision
def similarity_gap(x: Tensor, y: Tensor, by_row: bool = True) -> Tensor:
    """Compute MCLRec's regulariser R of two views, by inner products of all 2B rows.

    With positives p_r, negatives n_rj, and the hardest negative m, ``mean relu(p_r - lo) + mean relu(hi - n_rj)`` for
    lo = min(p, m) and hi = max(p, m): positives are pulled down to the hardest negative, and negatives lifted to the
    positives. As released, lo and hi are those of each row; in the paper they are those of the whole batch.

    Args:
        x, y: (B, D) embeddings of the global batch, each row's partner in the other.
        by_row: True for the release's form, False for the paper's.

    Returns:
        Scalar; 0 where all similarities are equal, 2 for orthonormal pairs.

    Raises:
        ValueError: for B < 2 or shapes that do not fit.
    """
    check_pair("x", x, "y", y, ndim=2)
    check_batch(x, "the similarity gap")
    rows = torch.cat([x, y])
    count = len(x)
    positives = (x * y).sum(1).repeat(2)  # (2B,)
    own = torch.arange(2 * count, device=x.device)
    others = own[:, None] % count != own % count  # (2B, 2B) True for negatives
    table = rows @ rows.T
    hardest = table.masked_fill(~others, float("-inf")).amax(1)
    low, high = torch.minimum(positives, hardest), torch.maximum(positives, hardest)
    if not by_row:
        low = torch.minimum(positives.min(), hardest.max()).expand_as(positives)
        high = torch.maximum(positives.min(), hardest.max()).expand_as(positives)
    lifted = (high[:, None] - table).relu().masked_fill(~others, 0).sum() / others.sum()
    return (positives - low).relu().mean() + lifted
