"""AugSelf: regression of the change between two views from their representations (Lee et al., arXiv 2111.09613)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.losses import invariance
from equissl.methods.base import StepOutput, gather_together, stack_features, widen
from equissl.methods.views.actions import Action
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.embedding import embed_together, plain_objective
from equissl.objectives import Objective, ObjectiveConfig

NT_XENT = ObjectiveConfig("nt_xent")


class AugSelf(ViewMethod):
    """An invariant objective on embeddings, and a regression of the action on representations.

    Args:
        encoder: image encoder.
        projector: sizes of the projector's layers.
        objective: objective of the embeddings; one without a teacher.
        weight: weight of the mean squared error of the action.
        hidden: width of the regressor's two hidden layers; 1024 as published.
        action: what is regressed, see :class:`equissl.methods.views.actions.Action`.
        sign: which of the two quaternions of a rotation.

    Raises:
        ValueError: for an objective that needs a teacher or a predictor.
    """

    objective: Objective
    action: Action

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        objective: ObjectiveConfig = NT_XENT,
        weight: float = 1.0,
        hidden: int = 1024,
        action: str = "quaternion",
        sign: QuaternionSign = "canonical",
    ) -> None:
        super().__init__(encoder)
        self.projector = Projector(self.feature_dim, projector)
        self.objective = plain_objective(objective, self.projector.out_dim)
        self.action, self.weight = Action(action, sign), weight
        layers = [nn.Linear(2 * self.feature_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.regressor = nn.Sequential(*layers, nn.Linear(hidden, self.action.dim))

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        predicted = self.regressor(torch.cat(views, dim=1))
        predicted, action = gather_together(predicted, self.action(batch).to(predicted.dtype))
        error = invariance(predicted, action)
        loss, terms = self.objective(
            embed_together([self.projector(view) for view in views], batch, self.objective.needs)
        )
        return StepOutput(widen(loss) + self.weight * error, {**terms, "action": error.detach()}, stack_features(views))

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])
