"""Dependence of codes on classes: the correlation ratio of every dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision


@full_precision
def class_share(codes: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Compute the share of the variance that lies between classes, summed over dimensions.

    Of each dimension η² = Σ_c n_c (mean_c − mean)² / Σ_i (x_i − mean)², Pearson's correlation ratio: 0 where all
    classes have the same mean, 1 where the class decides the value. A dimension that does not vary counts as 0.

    Args:
        codes: (N, D).
        labels: (N,) classes.
        num_classes: C.

    Returns:
        Scalar in [0, D]; about D (C − 1) / (N − 1) of independent codes.

    Raises:
        ValueError: for other shapes, or fewer than two samples.
    """
    if codes.ndim != 2 or len(codes) < 2 or labels.shape != codes.shape[:1]:
        got = f"{tuple(codes.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected at least 2 codes (N, D) and labels (N,), got {got}")
    centred = codes - codes.mean(dim=0)
    member = (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(codes.dtype)
    counts = member.sum(dim=0).clamp_min(1)
    between = ((member.T @ centred).square() / counts[:, None]).sum(dim=0)
    total = centred.square().sum(dim=0)
    still = total == 0
    return torch.where(
        still, torch.zeros_like(total), between / torch.where(still, torch.ones_like(total), total)
    ).sum()
