"""SIE, split invariant-equivariant representations: Garrido et al. 2023 (arXiv 2302.10283)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector, split_sizes
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.losses import covariance_penalty, invariance, variance_hinge
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.actions import Action
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.embedding import pair_loss, plain_objective
from equissl.objectives import ObjectiveConfig
from equissl.predictors import create_predictor


class SIE(ViewMethod):
    """The first part of the representation is invariant; the last part is moved by a predictor that knows the rotation.

    Args:
        encoder: image encoder.
        projector: sizes of a projector on the whole representation; each part gets its share (1024-1024-1024 at half).
        equi_dim: size of the equivariant part; None means half of the representation.
        predictor: one of :data:`equissl.predictors.PREDICTORS`, or an import path.
        predictor_options: further arguments of :class:`~equissl.predictors.LinearHypernetwork` (for example
            ``init: identity``) or :class:`~equissl.predictors.MLPPredictor` (``layers``).
        sim: weight of the invariance term.
        equi: weight of the equivariance term, relative to ``sim``.
        std: weight of the variance hinge.
        cov: weight of the covariance penalty.
        variance_on_predictor: also keep the predictions from collapse; False gives the paper's "SIE no var".
        objective: replaces the mean squared difference of the invariant embeddings; one without a teacher. See
            :data:`equissl.objectives.OBJECTIVES`.
        action: what the predictor is told: ``quaternion`` (the paper's), ``quaternion+hue`` (rotation and colour) or
            others, see :class:`equissl.methods.views.actions.Action`.
        sign: which of the two quaternions of a rotation, see :func:`equissl.geometry.relative_unitquat`.
        whiten_actions: shift actions to mean 0 and scale them to covariance 1 over the training pairs; the published
            methods do not.
        over_views: divide parameters of augmentations by their norm over the views, as ``action`` says.

    Raises:
        ValueError: for an ``equi_dim`` that leaves one part empty, or an unknown predictor or action.
    """

    action: Action

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        equi_dim: int | None = None,
        predictor: str = "hypernetwork",
        predictor_options: dict[str, Any] | None = None,
        sim: float = 10.0,
        equi: float = 0.45,
        std: float = 10.0,
        cov: float = 1.0,
        variance_on_predictor: bool = True,
        action: str = "quaternion",
        sign: QuaternionSign = "canonical",
        whiten_actions: bool = False,
        objective: ObjectiveConfig | None = None,
        over_views: bool = False,
    ) -> None:
        super().__init__(encoder)
        whole, self.equi_dim = self.feature_dim, self.feature_dim // 2 if equi_dim is None else equi_dim
        if not 0 < self.equi_dim < whole:
            raise ValueError(f"expected equi_dim between 1 and {whole - 1}, got {equi_dim}")
        self.inv_dim = whole - self.equi_dim
        self.projector_inv = Projector(self.inv_dim, split_sizes(projector, self.inv_dim, whole))
        self.projector_equi = Projector(self.equi_dim, split_sizes(projector, self.equi_dim, whole))
        self.action = Action(action, sign, over_views, whiten_actions)
        self.predictor = create_predictor(
            predictor, self.projector_equi.out_dim, self.action.identity, predictor_options
        )
        self.sim, self.equi, self.std, self.cov = sim, equi, std, cov
        self.variance_on_predictor = variance_on_predictor
        if objective is not None:
            self.objective = plain_objective(objective, self.projector_inv.out_dim)

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        z = self.actions(batch)
        (x_inv, x_equi), (y_inv, y_equi) = map(self.embed, views)
        predicted = self.predictor(x_equi, z)
        x_i, x_e, y_i, y_e, p = gather_together(x_inv, x_equi, y_inv, y_equi, predicted)
        loss, terms = self.loss(x_i, x_e, y_i, y_e, p, pair_loss(self.objective, x_i, y_i, batch))
        gap = self._action_gap(x_equi, y_equi, z) if self.track_action_gap else None
        return StepOutput(loss, terms, stack_features(views), gap)

    def loss(
        self, x_inv: Tensor, x_equi: Tensor, y_inv: Tensor, y_equi: Tensor, predicted: Tensor, inv: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms from the global embeddings.

        ``inv`` is the invariance term where it is not the mean squared difference.

        Args:
            x_inv: (B, E) invariant part, first view.
            x_equi: (B, F) equivariant part, first view.
            y_inv: invariant part, second view.
            y_equi: equivariant part, second view.
            predicted: (B, F) prediction of ``y_equi``.
            inv: invariance term where it is not the mean squared difference.
        """
        x, y = torch.cat([x_inv, x_equi], dim=1), torch.cat([y_inv, y_equi], dim=1)
        inv = invariance(x_inv, y_inv) if inv is None else inv
        equi = invariance(predicted, y_equi)
        std = (variance_hinge(x) + variance_hinge(y)) / 2
        predicted_std = variance_hinge(predicted) / 2  # halved like each view's, as published
        cov = covariance_penalty(x) + covariance_penalty(y)
        loss = self.sim * (inv + self.equi * equi) + self.std * std + self.cov * cov
        if self.variance_on_predictor:
            loss = loss + self.std * predicted_std
        return loss, detach_terms(
            invariance=inv, equivariance=equi, variance=std, predictor_variance=predicted_std, covariance=cov
        )

    def actions(self, batch: ViewBatch) -> Tensor:
        """Compute the actions from the first to the second view: (B, A)."""
        return self.action(batch).to(next(self.parameters()).dtype)

    def embed(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Project the representation (B, D) to its invariant and equivariant embeddings."""
        inv, equi = representation.split([self.inv_dim, self.equi_dim], dim=1)
        return self.projector_inv(inv), self.projector_equi(equi)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        parts = super().features(images)
        parts["inv"], parts["equi"] = parts["all"].split([self.inv_dim, self.equi_dim], dim=1)
        return parts

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector_equi(parts["equi"])

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        return self.predictor(embedding, self.actions(batch))

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor]:
        x_equi, y_equi = (self.embed(view)[1] for view in self.view_features(batch))
        return self._action_gap(x_equi, y_equi, self.actions(batch))

    @torch.no_grad()
    def _action_gap(self, x_equi: Tensor, y_equi: Tensor, z: Tensor) -> dict[str, Tensor]:
        ignored = self.predictor(x_equi, z.roll(1, dims=0))
        return {
            "equivariance": invariance(self.predictor(x_equi, z), y_equi),
            "equivariance_ignored_action": invariance(ignored, y_equi),
        }
