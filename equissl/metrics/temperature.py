"""Effect of a contrastive loss's temperature on its negatives (Wang and Liu, CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.metrics.hypersphere import _unit

_BLOCK = 1024


def relative_penalty(negatives: Tensor, temperature: float) -> Tensor:
    """Compute the share of each negative in the force that pushes an anchor away from its negatives.

    The gradients of InfoNCE with respect to the cosines of negatives stand in these proportions, and add up to that of
    the positive; the hard contrastive loss has them among the negatives that it keeps.

    Args:
        negatives: (..., K) cosines of anchors with their negatives; minus infinity leaves a negative out.
        temperature: temperature of the loss.

    Returns:
        (..., K) float64 on the CPU; each row sums to 1, with equal shares for a large temperature and all of it on the
        hardest negative for a small one.

    Raises:
        ValueError: for a row without negatives, NaN, infinity, or a temperature that is not positive.
    """
    _check_temperature(temperature)
    if negatives.ndim == 0 or negatives.shape[-1] == 0:
        raise ValueError(f"expected cosines of negatives of shape (..., K) with K >= 1, got {tuple(negatives.shape)}")
    shares = (negatives.detach().to("cpu", torch.float64) / temperature).softmax(dim=-1)
    broken = shares.isnan().any(dim=-1)
    if broken.any():
        raise ValueError(f"expected a finite cosine and no NaN in each row, got {int(broken.sum())} rows without")
    return shares


def penalty_entropy(embeddings: Tensor, temperature: float) -> float:
    """Entropy of the relative penalty in nats, averaged over anchors: how widely a temperature spreads its penalty.

    Its exponential is an effective number of negatives. It falls strictly with the temperature, unless an anchor's
    negatives are all equally near.

    Args:
        embeddings: (N, V, D), N, V >= 2; every ordered pair of views gives anchors and the other samples as negatives.
            Zero vectors stay zero. Memory grows with N, time with N².
        temperature: temperature of the loss.

    Returns:
        A number in [0, log(N - 1)], the upper end for an orthonormal batch or at collapse.

    Raises:
        ValueError: for another shape, fewer than two samples or views, NaN or infinite values, or a temperature that is
            not positive.
    """
    _check_temperature(temperature)
    if embeddings.ndim != 3 or embeddings.shape[1] < 2 or len(embeddings) < 2:
        raise ValueError(f"expected embeddings of shape (N, V, D) with N, V >= 2, got {tuple(embeddings.shape)}")
    views = [_unit(view) for view in embeddings.unbind(dim=1)]
    entropies = [_entropies(a, b, temperature) for a in views for b in views if b is not a]
    return float(torch.stack(entropies).mean())


def _entropies(anchors: Tensor, keys: Tensor, temperature: float) -> Tensor:
    parts = []
    for start in range(0, len(anchors), _BLOCK):
        cosines = anchors[start : start + _BLOCK] @ keys.T
        cosines.diagonal(start).fill_(float("-inf"))
        parts.append(torch.special.entr(relative_penalty(cosines, temperature)).sum(dim=1))
    return torch.cat(parts)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}")
