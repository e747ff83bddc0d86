"""VICReg with views on a straight trajectory."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.vicreg_objective import vicreg
from equissl.objectives.base import Embedded, Objective


class TrajectoryVICReg(Objective):
    """VICReg of the first two of three views, with a penalty on turns of the path from view to view.

    VICRegTraj in the tables of seq-JEPA (Ghaemi et al. 2025, arXiv 2505.03176), whose loss weights these are.

    Args:
        dim: width of the embeddings.
        sim, std, cov: weights of VICReg's terms.
        straight: weight of the trajectory term.
        unit_centre: project steps to the tangent space of the middle view's direction; False leaves out its
            normalisation, as the published code does.
    """

    fewest_views = most_views = 3

    def __init__(
        self,
        dim: int,
        sim: float = 10.0,
        std: float = 10.0,
        cov: float = 1.0,
        straight: float = 0.01,
        unit_centre: bool = True,
    ) -> None:
        super().__init__()
        self.sim, self.std, self.cov, self.straight = sim, std, cov, straight
        self.unit_centre = unit_centre

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        pair = vicreg(batch.z[:, :2], self.sim, self.std, self.cov)
        bend = 1 - straightness(batch.z, self.unit_centre)
        return pair + self.straight * (bend - 1), {"vicreg": pair.detach(), "bend": bend.detach()}


@full_precision
def straightness(embeddings: Tensor, unit_centre: bool = True) -> Tensor:
    """Compute the mean cosine between the steps to and from the middle one of three views, along their sphere.

    Args:
        embeddings: (B, 3, D). Steps are projected to the tangent space at the middle view's direction.
        unit_centre: False projects as if the middle view's embedding were of unit length, whatever it is.

    Returns:
        Scalar in [-1, 1].
    """
    before, centre, after = embeddings.unbind(1)
    radial = unit_norm(centre) if unit_centre else centre
    steps = torch.stack([centre - before, after - centre])
    tangent = unit_norm(steps - (steps * radial).sum(-1, keepdim=True) * radial)
    return (tangent[0] * tangent[1]).sum(-1).mean()
