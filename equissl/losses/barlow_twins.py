"""Barlow Twins: cross-correlation of two views towards the identity (Zbontar et al., ICML 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from equissl.losses.precision import full_precision
from equissl.losses.views import check_views, view_pairs


def standardize(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Standardise to mean 0 and biased variance 1 over dimension 0.

    Args:
        x: (N, ...) values.
        eps: added to the variance, as in batch normalisation.
    """
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
    return _Redundancy.apply(standardize(embeddings, eps), redundancy)


class _Redundancy(Function):
    """The loss of standardised views (B, V, D), averaged over unordered pairs.

    The gradient of each pair is left in place of its correlations, and the backward pass multiplies straight into one
    (B, V, D) tensor; autograd would make one for each view and then join them.
    """

    @staticmethod
    def forward(ctx: Any, views: Tensor, redundancy: float) -> Tensor:
        pairs, batch = view_pairs(views.shape[1]), views.shape[0]
        slopes, losses = [], []
        for v, w in pairs:
            gap = (views[:, v].T @ views[:, w]).div_(batch)
            diagonal = gap.diagonal().sub_(1)
            losses.append(redundancy * gap.square().sum() + (1 - redundancy) * diagonal.square().sum())
            slope = gap * (2 * redundancy / (batch * len(pairs)))
            slope.diagonal().copy_(diagonal * (2 / (batch * len(pairs))))
            slopes.append(slope)
        ctx.save_for_backward(views, *slopes)
        return torch.stack(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        views, *slopes = ctx.saved_tensors
        out, written = torch.empty_like(views), [False] * views.shape[1]
        for (v, w), slope in zip(view_pairs(views.shape[1]), slopes, strict=True):
            slope = gradient * slope
            for one, other, matrix in ((v, w, slope.T), (w, v, slope)):
                out[:, one].addmm_(views[:, other], matrix, beta=int(written[one]))  # beta 0 does not read
                written[one] = True
        return out, None
