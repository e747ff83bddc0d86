"""Losses on embeddings made of irreps: each is unchanged when one group element moves the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.losses.precision import full_precision


@full_precision
def action_cross_entropy(scores: Tensor) -> Tensor:
    """Cross-entropy of picking each sample's own action, first view to second, among those of the batch.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) with actions as candidates: the best scores are, up to a
    constant, the log ratio of the action's likelihood given both views to that without them. Embeddings that hold
    nothing about the pose cost log B.

    Args:
        scores: (B, B) score of action j for pair i.

    Returns:
        Scalar.

    Raises:
        ValueError: unless the scores are square.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"expected scores (B, B), got {tuple(scores.shape)}")
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def copy_variance_hinge(terms: Sequence[Tensor], target: float = 1.0, eps: float = 1e-4) -> Tensor:
    """VICReg's variance hinge with one deviation for each copy of an irrep, the root mean square over its components.

    A hinge on single components would ask for spread along axes of the basis; this one knows no axes.

    Args:
        terms: one (B, multiplicity, d) for each degree, of the global batch.
        target: deviation above which a copy costs nothing.
        eps: keeps the gradient of the square root finite.

    Returns:
        Scalar in [0, target - sqrt(eps)], the mean over copies.

    Raises:
        ValueError: for a batch of one.
    """
    wide = _widen(terms)
    deviations = [(x.var(dim=0).mean(dim=-1) + eps).sqrt() for x in wide]
    return (target - torch.cat(deviations)).relu().mean()


def copy_covariance_penalty(terms: Sequence[Tensor]) -> Tensor:
    """VICReg's covariance penalty without the covariances inside a copy, which turn into its variances as axes turn.

    Args:
        terms: as for :func:`copy_variance_hinge`.

    Returns:
        Scalar: squared covariances between components of different copies, summed, over the number of components.
    """
    wide = _widen(terms)
    centred = [x - x.mean(dim=0) for x in wide]
    x = torch.cat([c.flatten(1) for c in centred], dim=1)
    with torch.autocast(x.device.type, enabled=False):
        covariance = x.T @ x / (len(x) - 1)
    owner = torch.repeat_interleave(
        torch.arange(sum(c.shape[1] for c in centred), device=x.device),
        torch.tensor([c.shape[2] for c in centred for _ in range(c.shape[1])], device=x.device),
    )
    between = owner[:, None] != owner[None]
    return (covariance * between).square().sum() / x.shape[1]


def _widen(terms: Sequence[Tensor]) -> list[Tensor]:
    if any(x.ndim != 3 or len(x) < 2 for x in terms) or not terms:
        raise ValueError(
            f"expected terms (B, multiplicity, d) of at least 2 samples, got {[tuple(x.shape) for x in terms]}"
        )
    return [x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in terms]
