"""Diagnostics of collapse of a set of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor

JUDGED_ROWS = 8  # vectors from which on a low RankMe means something
COLLAPSED_RANK = 2.0  # a RankMe below it is hardly more than one direction; that of the config, too


def _features(features: Tensor) -> Tensor:
    if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
        raise ValueError(f"expected features of shape (N, D) with N >= 2, got {tuple(features.shape)}")
    features = features.detach().to("cpu", torch.float64)
    if not features.isfinite().all():
        raise ValueError(f"expected finite features, got {int((~features.isfinite()).sum())} NaN or infinite values")
    return features


def feature_std(features: Tensor, normalize: bool = False) -> float:
    """Compute the standard deviation (unbiased) of each dimension over the samples, averaged over dimensions.

    Args:
        features: (N, D) feature vectors.
        normalize: scale each vector to unit length first; then healthy features are near 1 / sqrt(D), whatever their
            scale.

    Returns:
        A number that is 0 for full collapse.

    Raises:
        ValueError: for another shape, fewer than two samples, NaN or infinite values.
    """
    features = _features(features)
    if normalize:
        features = torch.nn.functional.normalize(features, dim=1)
    return float(features.std(dim=0).mean())


def rankme(features: Tensor) -> float:
    """Effective rank: exponential of the entropy of the normalised singular values (Garrido et al., RankMe, ICML 2023).

    The features are not centred, as in the paper. Singular values of zero count by their limit, 0, instead of through
    the paper's additive 1e-7.

    Args:
        features: (N, D) feature vectors; the score is bounded by min(N, D), so use more samples than dimensions.

    Returns:
        A number in [1, min(N, D)]: 1 where all features are multiples of one vector; 0 for features of zeros only.

    Raises:
        ValueError: for another shape, fewer than two samples, NaN or infinite values.
    """
    values = torch.linalg.svdvals(_features(features))
    if values[0] == 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def is_collapsed(rank: float, dim: int | None = None, rows: int | None = None) -> bool:
    """Return True where features span hardly more than one direction: RankMe below 2, or below half of few dimensions.

    RankMe is at most the number of vectors, so that fewer than 8 say nothing.

    Args:
        rank: RankMe.
        dim: number of dimensions, where it is known; fewer than 4 have a lower bar.
        rows: number of vectors that it was measured of, where it is known.
    """
    if rows is not None and rows < JUDGED_ROWS:
        return False
    return rank < (COLLAPSED_RANK if dim is None else min(COLLAPSED_RANK, dim / 2))
