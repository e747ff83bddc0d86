"""Losses of similarity queries: SIRL (Bobu et al. 2023, arXiv 2301.00810).

A query shows three things; the answer names the two that are most alike, P1 and P2, and so the odd one out, N. The
two-anchor hinge is the paper's as recalled, not read in its text; the softmax over the three pairs is a choice of ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.losses.precision import full_precision


@full_precision
def query_triplets(embeddings: Tensor, margin: float = 1.0) -> Tensor:
    """Compute the mean triplet hinge of answered queries, with each of the two that are alike as anchor in turn.

    ``(t(P1, P2, N) + t(P2, P1, N)) / 2`` with ``t(A, P, N) = max(|A − P|² − |A − N|² + margin, 0)``: squared
    Euclidean distances of embeddings that are not normalised, so the margin sets their scale. Identical embeddings
    have no gradient: start at random.

    Args:
        embeddings: (Q, 3, D) in the order P1, P2, N.
        margin: by how much the odd one out has to be further away, in squared distance; above 0.

    Returns:
        Scalar, at least 0; ``margin`` where all three are the same.

    Raises:
        ValueError: for another shape, or a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"expected a margin above 0, got {margin}")
    alike, first, second = query_distances(embeddings)
    return ((alike - first + margin).clamp_min(0) + (alike - second + margin).clamp_min(0)).mean() / 2


@full_precision
def query_softmax(embeddings: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the cross-entropy of the answered pair among the three pairs of each query.

    The chance of an answer is a softmax of −|x − y|² / ``temperature`` over the pairs (Luce's choice rule, of which
    Bradley and Terry's is the case of two), so answers that contradict each other make no distance infinite.

    Args:
        embeddings: (Q, 3, D) in the order P1, P2, N.
        temperature: divides the squared distances; above 0.

    Returns:
        Scalar, at least 0; log 3 where all three are the same.

    Raises:
        ValueError: for another shape, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    nearness = torch.stack(query_distances(embeddings), dim=1) / -temperature
    return F.cross_entropy(nearness, torch.zeros(len(nearness), dtype=torch.long, device=nearness.device))


def query_distances(embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the squared distances (Q,) of P1 and P2, of P1 and N, and of P2 and N.

    Args:
        embeddings: (Q, 3, D) in the order P1, P2, N.

    Raises:
        ValueError: for another shape.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] != 3 or not embeddings.numel():
        raise ValueError(f"expected embeddings of shape (Q, 3, D), got {tuple(embeddings.shape)}")
    first, second, odd = embeddings.unbind(1)
    pairs = ((first, second), (first, odd), (second, odd))
    alike, one, two = ((a - b).square().sum(dim=1) for a, b in pairs)
    return alike, one, two
