"""Supervised contrastive loss (Khosla et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision, unit_norm
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


@full_precision
def token_supcon(tokens: Tensor, labels: Tensor, temperature: float | Tensor = 0.25) -> Tensor:
    """Compute SupCon among the tokens of each item, with its tokens of the same label as positives.

    MixedAE's homologous contrast (Chen et al. 2023, arXiv 2303.17152): the labels are the images that the patches of a
    mixed image come from. Its temperature is recalled, not read. Equal to `supcon` of each item's tokens with one view.

    Args:
        tokens: (N, L, D) with L >= 2.
        labels: (N, L) integers; compared within an item alone.
        temperature: divides the cosine similarities.

    Returns:
        (N,); ``log(L - 1)`` for equal tokens. A token without a positive costs 0 and counts in the mean.

    Raises:
        ValueError: for other shapes, fewer than 2 tokens, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if tokens.ndim != 3 or tokens.shape[1] < 2 or labels.shape != tokens.shape[:2]:
        got = f"{tuple(tokens.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected tokens (N, L, D) with L >= 2 and labels (N, L), got {got}")
    z, length = unit_norm(tokens), tokens.shape[1]
    own = torch.eye(length, dtype=torch.bool, device=tokens.device)

    def block(items: slice) -> Tensor:
        logits = z[items] @ z[items].mT / temperature
        positive = (labels[items, :, None] == labels[items, None, :]) & ~own
        count = positive.sum(dim=2)
        mean = torch.where(positive, logits, 0).sum(dim=2) / count.clamp(min=1)
        others = logits.masked_fill(own, float("-inf")).logsumexp(dim=2)
        loss = contrast(mean.unsqueeze(2), others, admitted="none")
        return torch.where(count > 0, loss, 0 * loss).mean(dim=1)  # 0, but NaN tokens show

    return in_blocks(block, len(tokens), length**2)
