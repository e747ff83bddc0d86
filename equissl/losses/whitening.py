"""Batch whitening: a linear map that gives the rows of a batch mean 0 and the identity as covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision
from equissl.losses.views import check_finite


def _centred(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    if x.ndim < 2 or x.shape[-1] == 0 or x.shape[-2] < 2:
        raise ValueError(f"expected x of shape (..., N, D) with N >= 2, got {tuple(x.shape)}")
    rows, dims = x.shape[-2:]
    if eps == 0 and rows <= dims:
        raise ValueError(
            f"whitening {dims} dimensions needs more than {dims} rows, got {rows}: their covariance is singular; "
            "use larger chunks, fewer dimensions, or eps > 0"
        )
    check_finite("x", x)
    centred = x - x.mean(dim=-2, keepdim=True)
    covariance = centred.mT @ centred / (rows - 1)
    if eps > 0:
        covariance = (1 - eps) * covariance + eps * torch.eye(dims, dtype=x.dtype, device=x.device)
    return centred, covariance


def _noise(x: Tensor, variance: Tensor) -> Tensor:
    """Variances that are rounding only: of the covariance's entries, or of the values that it was computed from."""
    eps = torch.finfo(x.dtype).eps
    values = eps * x.detach().abs().amax(dim=(-2, -1))[..., None]
    return torch.maximum(x.shape[-1] * eps * variance, values.square())


def _singular(x: Tensor) -> ValueError:
    return ValueError(
        f"the covariance of {x.shape[-2]} rows in {x.shape[-1]} dimensions is singular to working precision: the "
        "features have collapsed, or lost dimensions; eps > 0 would regularise it"
    )


@full_precision
def cholesky_whiten(x: Tensor, eps: float = 0.0) -> Tensor:
    """Rows solved against the Cholesky factor of their covariance (Ermolov et al., W-MSE, ICML 2021).

    Unchanged by lower-triangular maps with a positive diagonal and by shifts of x (at eps 0), not by rotations.

    Args:
        x: (..., N, D) rows; leading dimensions are whitened separately. N > D unless eps > 0.
        eps: the covariance (divisor N - 1) becomes ``(1 - eps) cov + eps I``.

    Returns:
        Tensor of the same shape, mean 0 and covariance I over N.

    Raises:
        ValueError: for too few rows, NaN or infinite values, and a covariance that is singular to working precision,
            as at collapse.
    """
    centred, covariance = _centred(x, eps)
    factor, info = torch.linalg.cholesky_ex(covariance)
    # A squared pivot is the variance that earlier dimensions leave unexplained.
    left = factor.detach().diagonal(dim1=-2, dim2=-1).square()
    total = covariance.detach().diagonal(dim1=-2, dim2=-1)
    if ((info != 0) | (left <= _noise(x, total)).any(dim=-1)).any():
        raise _singular(x)
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT


@full_precision
def zca_whiten(x: Tensor, eps: float = 0.0) -> Tensor:
    """Rows times the inverse square root of their covariance: the whitening closest to the input.

    Rotating x rotates the output, permuting dimensions permutes it. The backward pass divides by differences of
    eigenvalues, so it needs them distinct; `cholesky_whiten` does not.

    Args:
        x: (..., N, D) rows; leading dimensions are whitened separately. N > D unless eps > 0.
        eps: the covariance (divisor N - 1) becomes ``(1 - eps) cov + eps I``.

    Returns:
        Tensor of the same shape, mean 0 and covariance I over N.

    Raises:
        ValueError: as `cholesky_whiten`.
    """
    centred, covariance = _centred(x, eps)
    values, vectors = torch.linalg.eigh(covariance)
    if (values <= _noise(x, values.detach()[..., -1:])).any():
        raise _singular(x)
    return centred @ (vectors * values.rsqrt()[..., None, :]) @ vectors.mT
