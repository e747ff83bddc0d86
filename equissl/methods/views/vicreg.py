"""VICReg on the views of an object: Bardes et al. 2022 (arXiv 2105.04906)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import covariance_penalty, invariance, variance_hinge
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod


class VICReg(ViewMethod):
    """Invariant embeddings, kept from collapse by variance and covariance terms.

    Args:
        encoder: image encoder.
        projector: sizes of the projector's layers.
        sim: weight of the mean squared difference of the views.
        std: weight of the variance hinge, averaged over views.
        cov: weight of the covariance penalty, summed over views.
        inv_dim: only so many first dimensions of the embedding must agree ("VICRegPartInv" of Garrido et al. 2023);
            None is all of them.

    Raises:
        ValueError: for an ``inv_dim`` outside of the embedding.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        sim: float = 10.0,
        std: float = 10.0,
        cov: float = 1.0,
        inv_dim: int | None = None,
    ) -> None:
        super().__init__(encoder)
        self.projector = Projector(self.feature_dim, projector)
        self.sim, self.std, self.cov = sim, std, cov
        if inv_dim is not None and not 1 <= inv_dim <= self.projector.out_dim:
            raise ValueError(f"expected inv_dim between 1 and {self.projector.out_dim}, got {inv_dim}")
        self.inv_dim = inv_dim

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        x, y = gather_together(*(self.projector(view) for view in views))
        loss, terms = self.loss(x, y)
        return StepOutput(loss, terms, stack_features(views))

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms from the global embeddings.

        Args:
            x: (B, E) first view.
            y: (B, E) second view.
        """
        inv = invariance(x[:, : self.inv_dim], y[:, : self.inv_dim])
        std = (variance_hinge(x) + variance_hinge(y)) / 2
        cov = covariance_penalty(x) + covariance_penalty(y)
        loss = self.sim * inv + self.std * std + self.cov * cov
        return loss, detach_terms(invariance=inv, variance=std, covariance=cov)

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])
