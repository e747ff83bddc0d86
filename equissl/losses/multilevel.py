"""Contrast at several levels of an encoder, with negatives weighted by similarity: after CustomContrast.

CustomContrast (Chen et al. 2024, arXiv 2409.05606) contrasts subjects as a whole and at each level of features, and
scales the contrast of levels by how similar subjects are. Its loss is not published in a form that we could read: this
one is a reconstruction, with InfoNCE at every level. Text and images to generate are no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.losses.info_nce import info_nce
from equissl.losses.precision import full_precision
from equissl.losses.similarity import unit_views

LEAST = 1e-12  # weight of a negative that is as similar as the subject itself


@full_precision
def similarity_log_weights(similarity: Tensor) -> Tensor:
    """Compute the logarithms of ``1 - max(similarity, 0)``: like subjects repel each other less.

    Args:
        similarity: (B, B) cosine of each two subjects in a reference, no more than 1 but for rounding.

    Returns:
        (B, B) in [log 1e-12, 0]; 0, a weight of 1, for subjects that are unlike.
    """
    return (1 - similarity.clamp(min=0)).clamp(min=LEAST).log()


@full_precision
def level_nce(z: Tensor, temperature: float | Tensor = 0.07, log_weights: Tensor | None = None) -> Tensor:
    """Compute the mean InfoNCE from the first view to each other one, with weighted negatives.

    Args:
        z: (B, V, D) embeddings of one level, of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.
        log_weights: (B, B) of subject j as a negative of subject i, see `similarity_log_weights`; None for InfoNCE.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    queries, *keys = unit_views(z, "multilevel contrast").unbind(dim=1)
    return torch.stack([info_nce(queries, view, temperature, log_weights=log_weights) for view in keys]).mean()


def multilevel_nce(
    whole: Tensor,
    levels: Sequence[Tensor],
    weights: Sequence[float],
    temperature: float | Tensor = 0.07,
    similarity: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE of the whole, and of every level with similarity-weighted negatives.

    Args:
        whole: (B, V, D) embeddings of the subjects as a whole, of the global batch.
        levels: (B, V, D_l) embeddings of each level.
        weights: of the whole, then of each level.
        temperature: divides the cosine similarities.
        similarity: (B, B) cosine of each two subjects in a reference; None weights all negatives alike.

    Raises:
        ValueError: for another number of weights, and as `level_nce`.
    """
    if len(weights) != len(levels) + 1:
        raise ValueError(f"expected weights of the whole and of {len(levels)} levels, got {len(weights)}")
    known = None if similarity is None else similarity_log_weights(similarity)
    losses = [level_nce(whole, temperature), *(level_nce(level, temperature, known) for level in levels)]
    return torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
