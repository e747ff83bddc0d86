"""Alignment and uniformity on the hypersphere (Wang and Isola, ICML 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.potentials import log_mean_potential
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.views import check_views, view_pairs


def _check_exponents(alpha: float, t: float) -> None:
    if alpha < 1 or t <= 0:
        raise ValueError(f"expected alpha >= 1 and t > 0, got alpha {alpha} and t {t}")


def _alignment(x: Tensor, alpha: float) -> Tensor:
    distances = [torch.linalg.vector_norm(x[:, v] - x[:, w], dim=-1) for v, w in view_pairs(x.shape[1])]
    return torch.stack([distance.pow(alpha).mean() for distance in distances]).mean()


def _uniformity(x: Tensor, t: float) -> Tensor:
    return log_mean_potential(x.transpose(0, 1), t).mean()  # one view at a time is a set of points


@full_precision
def alignment_loss(embeddings: Tensor, alpha: float = 2.0) -> Tensor:
    """``mean ||a - b||^alpha`` of the unit vectors of two views; 2 - 2 mean cosine for alpha 2.

    Args:
        embeddings: (B, V, D); more than two views average over unordered pairs. A batch of one is allowed.
        alpha: power of the distance, at least 1.

    Returns:
        Scalar in [0, 2^alpha]; 0 for equal views, also for collapsed ones.

    Raises:
        ValueError: for another shape, one view, alpha below 1.
    """
    check_views(embeddings, "alignment", min_batch=1)
    _check_exponents(alpha, 1.0)
    return _alignment(unit_norm(embeddings), alpha)


@full_precision
def uniformity_loss(embeddings: Tensor, t: float = 2.0) -> Tensor:
    """``log mean_{i != j} exp(-t ||x_i - x_j||²)`` of unit vectors within one view, averaged over views.

    Args:
        embeddings: (B, V, D) embeddings of the global batch.
        t: sharpness of the Gaussian potential.

    Returns:
        Scalar in [-4 t, 0]: 0 at collapse, -2 t for an orthonormal batch.

    Raises:
        ValueError: for another shape, a batch of one, one view, t not positive.
    """
    check_views(embeddings, "uniformity")
    _check_exponents(1.0, t)
    return _uniformity(unit_norm(embeddings), t)


@full_precision
def align_uniform(embeddings: Tensor, weight: float = 1.0, alpha: float = 2.0, t: float = 2.0) -> Tensor:
    """Compute ``alignment_loss + weight * uniformity_loss``.

    Args:
        embeddings: (B, V, D) embeddings of the global batch.
        weight: weight of the uniformity.
        alpha: power of the distance between views, at least 1.
        t: sharpness of the Gaussian potential.

    Returns:
        Scalar; 0 at collapse, negative for aligned views that spread out.

    Raises:
        ValueError: for another shape, a batch of one, one view, alpha below 1, t not positive.
    """
    check_views(embeddings, "alignment and uniformity")
    _check_exponents(alpha, t)
    unit = unit_norm(embeddings)
    return _alignment(unit, alpha) + weight * _uniformity(unit, t)
