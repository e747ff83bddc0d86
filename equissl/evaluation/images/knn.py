"""Nearest neighbours as a classifier: the weighted vote of InstDisc (Wu et al. 2018, arXiv 1805.01978)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.util.progress import staged

BLOCK = 1024  # queries compared at a time


def knn_votes(
    train: Tensor, labels: Tensor, queries: Tensor, classes: int, neighbours: Sequence[int], temperature: float = 0.07
) -> dict[int, Tensor]:
    """Let the k nearest training features by cosine vote, each with weight exp(cosine / temperature).

    Args:
        train: (N, D) features.
        labels: (N,) their classes.
        queries: (M, D) features.
        classes: C.
        neighbours: numbers k; one above N takes all N.
        temperature: of the weights.

    Returns:
        (M, C) votes of each k; each row's sum is 1.
    """
    known = F.normalize(train.float(), dim=1)
    asked = staged(queries.split(BLOCK), "nearest neighbours", "blocks")
    blocks = [_vote(known, labels, block, classes, neighbours, temperature) for block in asked]
    return {k: torch.cat([block[k] for block in blocks]) for k in neighbours}


def _vote(
    known: Tensor, labels: Tensor, queries: Tensor, classes: int, neighbours: Sequence[int], temperature: float
) -> dict[int, Tensor]:
    cosine = F.normalize(queries.float(), dim=1) @ known.T
    nearest, rows = cosine.topk(min(max(neighbours), len(known)), dim=1)
    voted = labels[rows]
    return {k: _sum_votes((nearest[:, :k] / temperature).softmax(1), voted[:, :k], classes) for k in neighbours}


def _sum_votes(weights: Tensor, voted: Tensor, classes: int) -> Tensor:
    """(M, C) sums of weights (M, k) by voted class (M, k)."""
    return weights.new_zeros(len(weights), classes).scatter_add_(1, voted, weights)
