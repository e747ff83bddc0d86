"""Barlow Twins: cross-correlation of two views towards the identity (Zbontar et al., ICML 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from equissl.losses.precision import full_precision
from equissl.losses.views import check_views, view_pairs


def standardize(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Mean 0 and biased variance 1 over dimension 0, with ``eps`` added to the variance as in batch normalisation."""
    return batch_norm(x.flatten(1), None, None, training=True, eps=eps).view_as(x)


@full_precision
def barlow_twins(embeddings: Tensor, redundancy: float = 0.0051, eps: float = 1e-5) -> Tensor:
    """``sum_d (C_dd - 1)² + redundancy * sum_{d != e} C_de²``, C the cross-correlation of two views over the batch.

    Not normalised to the sphere. Positive scales and shifts of each dimension of each view change nothing (up to eps).

    Args:
        embeddings: (B, V, D) embeddings of the global batch; more than two views average over unordered pairs.
        redundancy: weight of the off-diagonal correlations (0.0051 in the authors' code, 0.005 in the paper).
        eps: added to the variances, positive; it keeps the gradient finite at collapse.

    Returns:
        Scalar: 0 for equal, decorrelated views; D at full collapse, where every correlation is 0; 4 D for opposite
        decorrelated views.

    Raises:
        ValueError: for another shape, a batch of one or one view.
    """
    check_views(embeddings, "Barlow Twins")
    views = standardize(embeddings, eps).unbind(dim=1)
    pairs = view_pairs(len(views))
    return torch.stack([_pair(views[v], views[w], redundancy) for v, w in pairs]).mean()


def _pair(x: Tensor, y: Tensor, redundancy: float) -> Tensor:
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    gap = torch.addmm(identity, x.T, y, beta=-1, alpha=1 / x.shape[0])
    return redundancy * gap.square().sum() + (1 - redundancy) * gap.diagonal().square().sum()
