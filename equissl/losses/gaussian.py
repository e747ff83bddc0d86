"""Log density of Gaussians with independent components."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.losses.precision import full_precision


@full_precision
def gaussian_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Compute log N(x; mean, exp(log_std)²), summed over all dimensions but the first.

    Args:
        x: (B, ...) samples.
        mean: of the same shape, or one that expands to it.
        log_std: likewise; natural logarithm of the standard deviations.

    Returns:
        (B,) log densities in nats.

    Raises:
        ValueError: for a single dimension, or shapes that do not expand to that of ``x``.
    """
    if x.ndim < 2 or torch.broadcast_shapes(x.shape, mean.shape, log_std.shape) != x.shape:
        got = f"{tuple(x.shape)}, {tuple(mean.shape)} and {tuple(log_std.shape)}"
        raise ValueError(f"expected x (B, ...), and mean and log_std that expand to its shape, got {got}")
    squares = ((x - mean) * (-log_std).exp()).square()
    return -(squares / 2 + log_std + math.log(2 * math.pi) / 2).flatten(1).sum(dim=1)
