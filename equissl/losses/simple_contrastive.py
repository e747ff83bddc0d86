"""Contrastive losses without temperature (Wang and Liu, Understanding the Behaviour of Contrastive Loss, CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.nearest import kept_negatives, nearest
from equissl.losses.precision import full_precision
from equissl.losses.similarity import unit_views


@full_precision
def simple_contrastive(z: Tensor, weight: float = 1.0) -> Tensor:
    """Mean cosine of negatives minus the cosine of the positive: InfoNCE without its preference for hard negatives.

    With weight 1 it is the limit of `clip` for a large temperature t, ``t B / (B - 1) (clip(z, t) - log B)``. Linear in
    time and memory: the cosines are summed without a table.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; the mean over all ordered pairs of views, with
            negatives from the other instances' second view of the pair.
        weight: weight of the mean over negatives; the paper's factor of their sum is ``weight / (B - 1)``.

    Returns:
        Scalar in [-1 - weight, 1 + weight]; ``weight - 1`` at collapse, -1 for an orthonormal batch.

    Raises:
        ValueError: for B < 2, V < 2, or other shapes.
    """
    z = unit_views(z, "the simple contrastive loss")
    batch, views, _ = z.shape
    positive = _between_views(z).sum()
    negative = _between_views(z.sum(dim=0)) - positive
    pairs = batch * views * (views - 1)
    return (weight * negative / (batch - 1) - positive) / pairs


@full_precision
def hard_simple(z: Tensor, weight: float = 1.0, hardest: int | float = 0.0819) -> Tensor:
    """`simple_contrastive` in which each anchor sees only its most similar negatives, those of `hard_contrastive`.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; the mean over all ordered pairs of views.
        weight: of the mean over the negatives kept; the paper's factor of their sum is ``weight`` over their number.
        hardest: how many negatives an anchor keeps, or the kept fraction (rounded up) for a float in (0, 1]. The
            choice of the negatives has no gradient.

    Returns:
        Scalar in [-1 - weight, 1 + weight], nonincreasing in ``hardest``; with all negatives it is the simple loss.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, a number of negatives outside of [1, B - 1] or a fraction outside of
            (0, 1].
    """
    z = unit_views(z, "the hard simple loss")
    batch, views, _ = z.shape
    kept, pairs = kept_negatives(hardest, batch - 1), views * (views - 1)
    columns = z.unbind(1)
    means = [nearest(a, b, kept, tables=pairs).mean() for a in columns for b in columns if b is not a]
    return weight * torch.stack(means).mean() - _between_views(z).sum() / (batch * pairs)


def _between_views(x: Tensor) -> Tensor:
    """(...) sums of the products of different views of (..., V, D), over all ordered pairs."""
    return x.sum(dim=-2).square().sum(dim=-1) - x.square().sum(dim=(-2, -1))
