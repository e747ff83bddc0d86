"""Regression of a teacher's embedding by cosine: BYOL (Grill et al. 2020) and SimSiam (Chen and He 2021).

Both losses look perfect at collapse; only a predictor, the stopped gradient and (BYOL) a momentum teacher prevent it.
So monitor a rank or a standard deviation beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision
from equissl.losses.views import check_views


@full_precision
def cross_view_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean cosine between each prediction and the targets of the *other* views; no gradient reaches the targets.

    Args:
        predictions: (B, V, D) predictor outputs.
        targets: (B, T, D) with 1 <= T <= V: the target of view t stands at index t. With multi-crop, T is the number
            of large crops and comes first.

    Returns:
        Scalar in [-1, 1], the mean over samples and over all (v, t) with v != t. Zero vectors count as cosine 0.

    Raises:
        ValueError: for other shapes or one view. A batch of one is allowed.
    """
    check_views(predictions, "cross-view prediction", "predictions", min_batch=1)
    batch, views, dims = predictions.shape
    if targets.ndim != 3 or targets.shape[::2] != (batch, dims) or not 1 <= targets.shape[1] <= views:
        raise ValueError(
            f"expected targets of shape ({batch}, T, {dims}) with T in 1..{views} to go with predictions of shape "
            f"{tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )
    targets = targets.detach()
    # Dividing the few products instead of all the vectors saves most of the time.
    cosines = predictions @ targets.mT * _inverse_norm(predictions) * _inverse_norm(targets).mT  # (B, V, T)
    own = torch.eye(views, targets.shape[1], dtype=torch.bool, device=cosines.device)
    return cosines.masked_fill(own, 0).sum() / (batch * (views - 1) * targets.shape[1])


def _inverse_norm(x: Tensor, eps: float = 1e-12) -> Tensor:
    """(..., 1) inverse lengths; 0, with no gradient, for vectors without a direction, as in `unit_norm`."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    short = norm <= eps
    return torch.where(short, torch.zeros_like(norm), 1 / torch.where(short, torch.ones_like(norm), norm))


def byol(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compute ``2 - 2 cos(p, stop(z'))`` summed over both orders of a pair of views, averaged over pairs.

    Args:
        predictions: (B, V, D) online predictions.
        targets: (B, T, D) embeddings of the momentum teacher, see `cross_view_cosine`.

    Returns:
        Scalar in [0, 8]: 0 aligned, 4 orthogonal, 8 opposite. Equals ``4 + 4 * simsiam``.
    """
    return 4 - 4 * cross_view_cosine(predictions, targets)


def simsiam(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compute ``-cos(p, stop(z))``, the mean of both orders of a pair of views, averaged over pairs.

    Args:
        predictions: (B, V, D) predictions.
        targets: (B, T, D) embeddings of the same encoder, see `cross_view_cosine`.

    Returns:
        Scalar in [-1, 1]: -1 aligned, 0 orthogonal, 1 opposite.
    """
    return -cross_view_cosine(predictions, targets)
