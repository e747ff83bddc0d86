"""VICReg objective as a whole, over any number of views (Bardes, Ponce and LeCun, ICLR 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge
from equissl.losses.views import check_views, view_pairs


@full_precision
def vicreg(embeddings: Tensor, sim: float = 25.0, std: float = 25.0, cov: float = 1.0) -> Tensor:
    """Compute ``sim * invariance + std * mean variance hinge + cov * summed covariance penalty`` of two views.

    Args:
        embeddings: (B, V, D) embeddings of the global batch, not normalised; more than two views average the loss over
            unordered pairs.
        sim: weight of the mean squared difference.
        std: weight of the variance hinge, averaged over the two views.
        cov: weight of the covariance penalty, summed over the two views.

    Returns:
        Scalar; ``0.99 * std`` at collapse.

    Raises:
        ValueError: for another shape, a batch of one or one view.
    """
    check_views(embeddings, "VICReg")
    views = embeddings.unbind(dim=1)
    near = torch.stack([invariance(views[v], views[w]) for v, w in view_pairs(len(views))]).mean()
    spread = torch.stack([variance_hinge(view) for view in views]).mean()
    overlap = torch.stack([covariance_penalty(view) for view in views]).mean()
    return sim * near + std * spread + cov * 2 * overlap  # every pair sums two views' penalties
