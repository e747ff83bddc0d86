"""Unit vectors on the sphere: alignment and uniformity (Wang and Isola 2020), tolerance (Wang and Liu 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.metrics.collapse import _features

_BLOCK = 1024


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(_features(features), dim=1)


def alignment(embeddings: Tensor, alpha: float = 2.0) -> float:
    """Compute the mean distance between the unit vectors of two views of a sample, to the power ``alpha``.

    Args:
        embeddings: (N, V, D), V >= 2; averaged over unordered pairs of views. Zero vectors stay zero.
        alpha: power of the distance.

    Returns:
        A number in [0, 2^alpha]; 0 for equal views. ``2 - 2 mean cosine`` for alpha 2.

    Raises:
        ValueError: for another shape, one view, fewer than two samples, NaN or infinite values.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] < 2 or len(embeddings) < 2:
        raise ValueError(f"expected embeddings of shape (N, V, D) with N, V >= 2, got {tuple(embeddings.shape)}")
    views = [_unit(view) for view in embeddings.unbind(dim=1)]
    pairs = [(x, y) for i, x in enumerate(views) for y in views[i + 1 :]]
    return float(torch.stack([(x - y).norm(dim=1).pow(alpha).mean() for x, y in pairs]).mean())


def uniformity(features: Tensor, t: float = 2.0) -> float:
    """``log mean_{i != j} exp(-t ||x_i - x_j||²)`` of unit vectors; lower is more even.

    Args:
        features: (N, D) feature vectors; zero vectors stay zero. Memory grows with N, time with N².
        t: sharpness of the Gaussian potential.

    Returns:
        A number in [-4 t, 0]: 0 at collapse, ``-2 t N / (N - 1)`` for the vertices of a simplex.

    Raises:
        ValueError: for another shape, fewer than two samples, NaN or infinite values.
    """
    x = _unit(features)
    squares = x.square().sum(dim=1)
    parts = []
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        energy = -t * (squares[rows, None] + squares - 2 * x[rows] @ x.T)
        energy.diagonal(start).fill_(float("-inf"))
        parts.append(energy.logsumexp(dim=(0, 1)))
    return float(torch.stack(parts).logsumexp(dim=0)) - math.log(len(x) * (len(x) - 1))


def tolerance(features: Tensor, labels: Tensor) -> float:
    """Compute the mean cosine over all pairs of different samples with the same label.

    The paper's formula can also be read as a mean over *all* pairs with the indicator inside; this one divides by the
    number of pairs of the same label, so it does not depend on the number of classes.

    Args:
        features: (N, D) feature vectors; zero vectors stay zero.
        labels: (N,) integer labels.

    Returns:
        A number in [-1, 1]; 1 where every class is one point.

    Raises:
        ValueError: for other shapes, labels that are not integers, no two samples of one label, NaN or infinite values.
    """
    x = _unit(features)
    if labels.shape != x.shape[:1] or labels.is_floating_point():
        raise ValueError(f"expected ({len(x)},) integer labels, got {labels.dtype} {tuple(labels.shape)}")
    _, index = labels.cpu().unique(return_inverse=True)
    counts = torch.bincount(index).double()
    pairs = float((counts * (counts - 1)).sum())
    if pairs == 0:
        raise ValueError(f"tolerance needs two samples of one label, got {len(counts)} labels for {len(x)} samples")
    sums = torch.zeros(len(counts), x.shape[1], dtype=x.dtype).index_add_(0, index, x)
    return float(sums.square().sum() - x.square().sum()) / pairs
