"""Supervised contrastive loss (Khosla et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, log_sum, unit_views


@full_precision
def supcon(
    z: Tensor, labels: Tensor, temperature: float | Tensor = 0.1, average: Literal["out", "in"] = "out"
) -> Tensor:
    """Compute NT-Xent with every other row of the same class as a positive.

    The value is not multiplied by ``temperature / base_temperature``, as the authors' code does. A row without a
    positive costs 0 and counts in the mean.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 1.
        labels: (B,) integer class of each instance, of the global batch as well.
        temperature: divides the cosine similarities.
        average: over positives outside of the logarithm, or inside, which is never larger.

    Returns:
        Scalar; log(VB - 1) for collapsed embeddings.

    Raises:
        ValueError: for B < 2, other shapes, an unknown average, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "SupCon", views=1)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"expected labels of shape ({len(z)},), got {tuple(labels.shape)}")
    if average not in ("out", "in"):
        raise ValueError(f"expected average to be 'out' or 'in', got {average!r}")
    views = z.shape[1]
    rows, classes = z.flatten(0, 1), labels.repeat_interleave(views)
    own = torch.arange(len(rows), device=z.device)[:, None]
    same = labels[:, None] == labels
    count = (same.sum(dim=1) * views - 1).repeat_interleave(views)
    if average == "out":
        positives = _mean_logits(z, same, count, temperature)
    else:
        positives = (
            log_sum(rows, rows, temperature, own, groups=(classes, classes)) - count.clamp(min=1).to(z.dtype).log()
        )
    # Rows without a positive must stay finite in both branches, or their gradient is NaN.
    positives = torch.where(count > 0, positives, torch.zeros_like(positives))
    # This denominator already holds every other row, so the kernel admits no further positive.
    loss = contrast(positives[:, None], log_sum(rows, rows, temperature, own), admitted="none")
    return torch.where(count > 0, loss, 0 * loss).mean()  # 0, but NaN embeddings show


def _mean_logits(z: Tensor, same: Tensor, count: Tensor, temperature: float | Tensor) -> Tensor:
    """Mean logit with the other rows of a class, from the sum of the class: no table of all pairs of rows."""
    sums = (same.to(z.dtype) @ z.sum(dim=1))[:, None] - z
    return (z * sums).sum(dim=2).flatten() / count.clamp(min=1) / temperature
