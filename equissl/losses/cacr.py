"""Contrastive attraction and contrastive repulsion (Zheng et al., CACR, arXiv 2105.03746)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.views import check_views, view_pairs


@full_precision
def attraction(embeddings: Tensor, t: float = 1.0, detach_weights: bool = False) -> Tensor:
    """Squared distances to an anchor's other views, far ones weighted up by ``softmax(t * distance)``.

    Args:
        embeddings: (B, V, D); every view is an anchor. A batch of one is allowed. With two views this is the mean
            squared distance.
        t: sharpness of the weights; 0 weights all positives alike.
        detach_weights: stop the gradient through the weights.

    Returns:
        Scalar in [0, 4]; 0 for equal views.
    """
    check_views(embeddings, "attraction", min_batch=1)
    x = unit_norm(embeddings)
    cost = _costs(x, x)  # (B, V, V)
    own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return _weighted(cost, t, own, detach_weights)


@full_precision
def repulsion(embeddings: Tensor, t: float = 2.0, detach_weights: bool = False) -> Tensor:
    """Minus the squared distances to other samples' views, near ones weighted up by ``softmax(-t * distance)``.

    Anchors of view v meet the other samples in view w, for v < w as in the authors' code; so unlike the attraction it
    depends on the order of the views.

    Args:
        embeddings: (B, V, D) embeddings of the global batch.
        t: sharpness of the weights; 0 weights all negatives alike.
        detach_weights: stop the gradient through the weights.

    Returns:
        Scalar in [-4, 0]; 0 at collapse, -2 for an orthonormal batch.
    """
    check_views(embeddings, "repulsion")
    x = unit_norm(embeddings)
    own = torch.eye(x.shape[0], dtype=torch.bool, device=x.device)
    pairs = view_pairs(x.shape[1])
    terms = [_weighted(_costs(x[:, v], x[:, w]), -t, own, detach_weights) for v, w in pairs]
    return -torch.stack(terms).mean()


def cacr(
    embeddings: Tensor,
    t_attract: float = 1.0,
    t_repel: float = 2.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    detach_weights: bool = False,
) -> Tensor:
    """Compute ``alpha * attraction + beta * repulsion``.

    Args:
        embeddings: (B, V, D) embeddings of the global batch.
        t_attract: sharpness of the weights of positives.
        t_repel: sharpness of the weights of negatives (2.0 on CIFAR-100 and STL-10, 0.9 on CIFAR-10).
        alpha: weight of the attraction.
        beta: weight of the repulsion.
        detach_weights: stop the gradient through all weights.

    Returns:
        Scalar; 0 at collapse, -2 for an orthonormal batch.

    Raises:
        ValueError: for another shape, a batch of one or one view.
    """
    near = attraction(embeddings, t_attract, detach_weights)
    return alpha * near + beta * repulsion(embeddings, t_repel, detach_weights)


def _costs(x: Tensor, y: Tensor) -> Tensor:
    squares = x.square().sum(dim=-1)[..., :, None] + y.square().sum(dim=-1)[..., None, :]
    return squares - 2 * x @ y.mT


def _weighted(cost: Tensor, t: float, own: Tensor, detach_weights: bool) -> Tensor:
    weights = (t * cost).masked_fill(own, float("-inf")).softmax(dim=-1)
    weights = weights.detach() if detach_weights else weights
    return (weights * cost).sum(dim=-1).mean()
