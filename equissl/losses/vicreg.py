"""VICReg: variance, invariance and covariance terms (Bardes, Ponce and LeCun, ICLR 2022)."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.precision import check_batch, check_pair, full_precision


@full_precision
def invariance(x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared difference over all elements, batch and features alike.

    Args:
        x: embeddings of the first view.
        y: embeddings of the second view, of the same shape (nothing is broadcast).

    Returns:
        Scalar; 0 for equal views, also for collapsed ones.
    """
    check_pair("x", x, "y", y)
    return (x - y).square().mean()


@full_precision
def variance_hinge(x: Tensor, target: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Compute ``mean_d relu(target - sqrt(var_d + eps))`` with the unbiased variance over the batch.

    Args:
        x: (B, D) embeddings of the global batch.
        target: standard deviation above which a dimension costs nothing.
        eps: keeps the gradient of the square root finite at zero variance.

    Returns:
        Scalar in [0, target - sqrt(eps)]; the upper limit (0.99 by default) means full collapse.

    Raises:
        ValueError: for a batch of one, whose variance is undefined.
    """
    check_batch(x, "the variance term")
    std = (x.var(dim=0) + eps).sqrt()
    return (target - std).relu().mean()


@full_precision
def covariance_penalty(x: Tensor) -> Tensor:
    """``sum of squared off-diagonal covariances / D``, covariances over the actual batch with divisor B - 1.

    Args:
        x: (B, D) embeddings of the global batch.

    Returns:
        Scalar, at least 0; 0 for decorrelated and for collapsed dimensions.

    Raises:
        ValueError: for a batch of one, whose covariance is undefined.
    """
    check_batch(x, "the covariance term")
    centred = x - x.mean(dim=0)
    covariance = centred.T @ centred / (x.shape[0] - 1)
    # Zeroing the diagonal instead of subtracting its squares from the total: no cancellation, no negative result.
    return covariance.fill_diagonal_(0).square().sum() / x.shape[1]
