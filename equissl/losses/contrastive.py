"""Comparison behind all contrastive objectives: positives against the log-sum of negatives, in log space."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Admitted = Literal["all", "own", "none"]


def contrast(
    positives: Tensor,
    log_negatives: Tensor,
    admitted: Admitted = "all",
    pool: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Compute the loss of each anchor: log of its denominator minus its positives.

    With positives s_p and log-sum-exp n of the negatives, the mean over p of ``log(exp(n) + sum_q exp(s_q)) - s_p``,
    where q runs over the positives admitted to the denominator. Nothing is exponentiated outside of a log-sum-exp, and
    differences are taken before the logarithm, so that losses near 0 keep their digits.

    Args:
        positives: (..., P) logits of the positives.
        log_negatives: (...) log-sum-exp of the negatives' logits.
        admitted: positives in the denominator: all of them, only the one being scored (own), or none.
        pool: compare with the log-sum-exp of the positives instead of averaging over them.
        weights: (..., P) factors of the scored positives, not of those in the denominator.

    Returns:
        (...) losses.

    Raises:
        ValueError: for shapes that do not fit, or pooled positives with weights or with a denominator each.
    """
    if positives.shape[:-1] != log_negatives.shape or positives.shape[-1] == 0:
        raise ValueError(
            f"expected positives (..., P) with log_negatives (...), got {tuple(positives.shape)} and "
            f"{tuple(log_negatives.shape)}"
        )
    if admitted not in ("all", "own", "none"):
        raise ValueError(f"expected admitted to be 'all', 'own' or 'none', got {admitted!r}")
    if pool and (admitted == "own" or weights is not None):
        raise ValueError("pooled positives have one denominator and no weights: admit 'all' or 'none'")
    pooled = positives.logsumexp(dim=-1)
    if pool:
        return _gap(log_negatives - pooled, torch.zeros_like(pooled) if admitted == "all" else None)
    inside = {"all": pooled[..., None] - positives, "own": torch.zeros_like(positives), "none": None}[admitted]
    loss = _gap(log_negatives[..., None] - positives, inside)
    if weights is not None:
        loss = loss + (1 - weights) * positives
    return loss.mean(dim=-1)


def _gap(negatives: Tensor, inside: Tensor | None) -> Tensor:
    """Log of the denominator over the positive, from the logs of its two parts over the positive."""
    return negatives if inside is None else torch.logaddexp(inside, negatives)
