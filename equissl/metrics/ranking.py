"""Ranking of one true item among all items: its rank, and NDCG@k; H@k is that of `equissl.metrics.retrieval`.

Every item is a candidate: scores against sampled ones rank recommenders differently (Krichene and Rendle, KDD 2020).
Ties are shared out, as in `equissl.metrics.retrieval`: a constant score is worth what a random order is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.metrics.retrieval import check_scores


def target_ranks(scores: Tensor, target: Tensor, excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rank the true item of each query among all items.

    Args:
        scores: (n, N) of every item, the best highest.
        target: (n,) position of the true item.
        excluded: (n, N) bool, items that are no candidates of a query; the true item always is one.

    Returns:
        Two (n,) int64 on the CPU: how many items score above the true one, and how many tie with it, itself included.

    Raises:
        ValueError: for shapes that do not fit, a target out of range, or scores that are not finite.
    """
    if scores.ndim != 2 or target.shape != scores.shape[:1]:
        shapes = f"{tuple(scores.shape)} and {tuple(target.shape)}"
        raise ValueError(f"expected scores (n, N) and target (n,), got {shapes}")
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < scores.shape[1]:
        raise ValueError(f"expected targets in 0..{scores.shape[1] - 1}, got {int(target.min())}..{int(target.max())}")
    check_scores(scores)
    true = scores.gather(1, target[:, None])
    if excluded is not None:
        scores = scores.masked_fill(excluded, float("-inf"))
    scores = scores.scatter(1, target[:, None], true)  # the true item may be among those excluded
    return (scores > true).sum(1).cpu(), (scores == true).sum(1).cpu()


def ndcg(above: Tensor, tied: Tensor, k: int) -> float:
    """Compute NDCG@k of one true item, 1 / log2(1 + rank) within the first k and 0 behind, in float64.

    Järvelin and Kekäläinen, TOIS 2002; the ideal ranking has the item first, and a gain of 1. Ties count their
    expectation.

    Args:
        above: items that score above the true one, for each query.
        tied: items that score as high, itself included.
        k: number of first items.

    Raises:
        ValueError: for k below 1.

    Example:
        >>> ndcg(torch.tensor([0, 2, 10]), torch.tensor([1, 1, 1]), 10)
        0.5
    """
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    gains = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    summed = torch.cat([torch.zeros(1, dtype=torch.float64), gains.cumsum(0)])  # (k + 1,)
    return float(((summed[(above + tied).clamp(max=k)] - summed[above.clamp(max=k)]) / tied).mean())
