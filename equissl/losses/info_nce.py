"""InfoNCE in one direction: queries against keys (van den Oord et al., arXiv 1807.03748)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.similarity import check_temperature, log_sum, unit_views


@full_precision
def info_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: float | Tensor = 0.07,
    partners: Tensor | None = None,
    log_weights: Tensor | None = None,
) -> Tensor:
    """Compute the mean cross-entropy of each query picking its partner among the keys, by cosine similarity.

    Args:
        queries: (B, D).
        keys: (N, D), N >= 2.
        temperature: divides the cosine similarities.
        partners: (B,) integer position of each query's key; by default query i belongs to key i.
        log_weights: (B, N) logarithms of the weights of other keys in the denominator, finite; None for 1.

    Returns:
        Scalar; log N for collapsed embeddings. Without weights log N minus it bounds the mutual information from below.

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
    if log_weights is not None and log_weights.shape != (len(queries), len(keys)):
        raise ValueError(f"expected log weights {(len(queries), len(keys))}, got {tuple(log_weights.shape)}")
    queries, keys = unit_norm(queries), unit_norm(keys)
    positives = (queries * (keys[partners] / temperature)).sum(dim=1, keepdim=True)
    return contrast(positives, log_sum(queries, keys, temperature, partners[:, None], log_weights=log_weights)).mean()


@full_precision
def info_nce_of_views(z: Tensor, temperature: float | Tensor = 0.07) -> Tensor:
    """Compute the mean of `info_nce` from the first view to each other view.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.

    Returns:
        Scalar; log B for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    queries, *keys = unit_views(z, "InfoNCE").unbind(dim=1)
    return torch.stack([info_nce(queries, view, temperature) for view in keys]).mean()
