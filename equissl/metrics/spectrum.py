"""Effective rank of the covariance of features."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.metrics.collapse import _features


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the covariance's normalised eigenvalues (Roy and Vetterli, EUSIPCO 2007).

    Unlike `rankme` it centres the features and weights directions by variance instead of by singular value, so it is
    the smaller of the two for centred features, and constant offsets do not count as a direction.

    Args:
        features: (N, D) feature vectors; the score is bounded by min(N - 1, D).

    Returns:
        A number in [1, min(N - 1, D)]; 0 for full collapse, where nothing varies.

    Raises:
        ValueError: for another shape, fewer than two samples, NaN or infinite values.
    """
    x = _features(features)
    varies = x.amax(dim=0) != x.amin(dim=0)  # the mean of equal numbers may be off by rounding
    values = torch.linalg.svdvals((x - x.mean(dim=0)) * varies).square()
    if values[0] == 0:
        return 0.0
    return float(torch.special.entr(values / values.sum()).sum().exp())
