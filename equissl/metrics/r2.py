"""Coefficients of determination, the two found in the literature.

They differ in what a prediction is compared with, and are not comparable: on the relative quaternions of 3DIEBench a
constant predictor scores 0.229 on the first and 0 on the second. So each has its own name and both are always reported.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _checked(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if preds.shape != target.shape or preds.ndim not in (1, 2) or preds.numel() == 0:
        raise ValueError(
            f"expected preds and target of the same shape (N, D) or (N,), got {tuple(preds.shape)} and "
            f"{tuple(target.shape)}"
        )
    if preds.shape[0] < 2:
        raise ValueError(f"R² needs at least 2 samples, got {preds.shape[0]}")
    wide = []
    for name, values in (("preds", preds), ("target", target)):
        values = values.detach().to("cpu", torch.float64).reshape(len(values), -1)
        if not values.isfinite().all():
            raise ValueError(f"expected finite {name}, got {int((~values.isfinite()).sum())} NaN or infinite values")
        wide.append(values)
    return wide[0], wide[1]


def _r2(residual: Tensor, deviation: Tensor, constant: Tensor) -> Tensor:
    # scikit-learn's rule for a constant target, where the ratio is undefined: 1 if predicted exactly, 0 if not.
    undefined = (residual == 0).to(residual.dtype)
    return torch.where(constant, undefined, 1 - residual / torch.where(constant, torch.ones_like(deviation), deviation))


def r2_global(preds: Tensor, target: Tensor) -> float:
    """Compute R² around one scalar mean over all samples and dimensions, as SIE and EquiCaps report it.

    Predicting each dimension's own mean scores above 0 wherever the dimensions' means differ.

    Args:
        preds: (N, D) or (N,) predictions.
        target: targets of the same shape.

    Returns:
        1 - sum of squared errors / sum of squared deviations, in float64; at most 1. For a constant target 1 if it is
        predicted exactly, else 0.

    Raises:
        ValueError: for unequal shapes, fewer than two samples, NaN or infinite values.

    Example:
        >>> target = torch.tensor([[1.0, 10.0], [3.0, 14.0]])
        >>> round(r2_global(target.mean(0).expand(2, 2), target), 4)
        0.9091
    """
    preds, target = _checked(preds, target)
    residual, deviation = (target - preds).square().sum(), (target - target.mean()).square().sum()
    return float(_r2(residual, deviation, target.max() == target.min()))


def r2_uniform(preds: Tensor, target: Tensor) -> float:
    """R² of each dimension around its own mean, averaged: scikit-learn's ``uniform_average``, as seq-JEPA reports it.

    Args:
        preds: (N, D) or (N,) predictions.
        target: targets of the same shape.

    Returns:
        Mean over dimensions, in float64; at most 1. A constant target dimension counts 1 if predicted exactly, else 0.

    Raises:
        ValueError: for unequal shapes, fewer than two samples, NaN or infinite values.

    Example:
        >>> target = torch.tensor([[1.0, 10.0], [3.0, 14.0]])
        >>> r2_uniform(target.mean(0).expand(2, 2), target)
        0.0
    """
    preds, target = _checked(preds, target)
    residual, deviation = (target - preds).square().sum(dim=0), (target - target.mean(dim=0)).square().sum(dim=0)
    return float(_r2(residual, deviation, target.amax(dim=0) == target.amin(dim=0)).mean())
