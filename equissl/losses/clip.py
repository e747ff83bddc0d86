"""Cross-view InfoNCE (van den Oord et al., 2018) and its symmetric form (Radford et al., CLIP, ICML 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.similarity import check_temperature, cross_view_negatives, log_sum, unit_views, view_logits


@full_precision
def one_way_info_nce(
    queries: Tensor, keys: Tensor, temperature: float | Tensor = 0.07, partners: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of each query picking its partner among the keys, by cosine similarity.

    Args:
        queries: (B, D).
        keys: (N, D), N >= 2.
        temperature: divides the cosine similarities.
        partners: (B,) integer position of each query's key; by default query i belongs to key i.

    Returns:
        Scalar; log N for collapsed embeddings. log N minus this value bounds the mutual information from below.

    Raises:
        ValueError: for shapes that do not fit, fewer than 2 keys, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1:] != keys.shape[1:] or len(queries) == 0:
        raise ValueError(f"expected queries (B, D) and keys (N, D), got {tuple(queries.shape)} and {tuple(keys.shape)}")
    if len(keys) < 2:
        raise ValueError(f"InfoNCE needs at least 2 keys, got {len(keys)}")
    if partners is None:
        if len(queries) > len(keys):
            raise ValueError(f"each query needs a key, got {len(queries)} queries and {len(keys)} keys")
        partners = torch.arange(len(queries), device=queries.device)
    if partners.shape != queries.shape[:1]:
        raise ValueError(f"expected partners of shape ({len(queries)},), got {tuple(partners.shape)}")
    queries, keys = unit_norm(queries), unit_norm(keys)
    positives = (queries * (keys[partners] / temperature)).sum(dim=1, keepdim=True)
    return contrast(positives, log_sum(queries, keys, temperature, partners[:, None])).mean()


@full_precision
def clip(z: Tensor, temperature: float | Tensor = 0.07) -> Tensor:
    """Mean of the one-way losses between all ordered pairs of views; half the sum of both directions for two views.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; a view may be a modality.
        temperature: divides the cosine similarities; a `LogitScale` gives a learnable one.

    Returns:
        Scalar; log B for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "CLIP")
    return contrast(view_logits(z, temperature)[..., None], cross_view_negatives(z, temperature)).mean()


class LogitScale(nn.Module):
    """Learnable temperature: calling it gives ``1 / min(exp(log_scale), limit)``.

    Args:
        temperature: initial value.
        limit: largest scale, that is the smallest temperature is ``1 / limit``.
    """

    def __init__(self, temperature: float = 0.07, limit: float = 100.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.log_limit = math.log(limit)

    def forward(self) -> Tensor:
        return (-self.log_scale.clamp(max=self.log_limit)).exp()
