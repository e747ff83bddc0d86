"""Symmetric InfoNCE between views or modalities (Radford et al., CLIP, ICML 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, cross_view_negatives, unit_views, view_logits


@full_precision
def clip(z: Tensor, temperature: float | Tensor = 0.07, smoothing: float = 0.0) -> Tensor:
    """Mean of `info_nce` over all ordered pairs of views; half the sum of both directions for two views.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; a view may be a modality.
        temperature: divides the cosine similarities; a `LogitScale` gives a learnable one.
        smoothing: share of each target that is spread evenly over the batch (label smoothing).

    Returns:
        Scalar; log B for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, a temperature that is not positive, or a smoothing outside [0, 1).
    """
    check_temperature(temperature)
    if not 0 <= smoothing < 1:
        raise ValueError(f"expected a smoothing in [0, 1), got {smoothing}")
    z = unit_views(z, "CLIP")
    positives = view_logits(z, temperature)
    loss = contrast(positives[..., None], cross_view_negatives(z, temperature)).mean()
    if not smoothing:
        return loss
    # the mean of all logits of two views is the logit of their mean vectors
    even = view_logits(z.mean(dim=0, keepdim=True), temperature)
    return loss + smoothing * (positives.mean() - even.mean())


class LogitScale(nn.Module):
    """Learnable temperature: calling it gives ``1 / clamp(exp(log_scale), least, limit)``.

    Args:
        temperature: initial value.
        limit: largest scale, that is the smallest temperature is ``1 / limit``.
        least: smallest scale; None for none.
    """

    def __init__(self, temperature: float = 0.07, limit: float = 100.0, least: float | None = None) -> None:
        super().__init__()
        check_temperature(temperature)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.log_least = None if least is None else math.log(least)
        self.log_limit = math.log(limit)

    def forward(self) -> Tensor:
        return (-self.log_scale.clamp(self.log_least, self.log_limit)).exp()
