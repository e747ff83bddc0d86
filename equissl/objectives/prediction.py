"""Objectives between a prediction and its target."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.precision import full_precision
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge
from equissl.objectives.base import Embedded, Objective


class PredictedVICReg(Objective):
    """Mean squared error; variance and covariance of the embeddings before and after the action (Garrido et al. 2023).

    Plain ``vicreg`` on (prediction, target) would regularise the prediction instead of what it was made from.

    Args:
        dim: width of the embeddings.
        sim: weight of the error.
        std: weight of the variance hinge, averaged over the two embeddings.
        cov: weight of the covariance penalty, summed over the two embeddings.
        variance_on_predictor: also keep the predictions from collapse.
    """

    needs = frozenset({"source"})
    most_views = 2
    for_predictions = True

    def __init__(
        self, dim: int, sim: float = 10.0, std: float = 10.0, cov: float = 1.0, variance_on_predictor: bool = False
    ) -> None:
        super().__init__()
        self.sim, self.std, self.cov, self.variance_on_predictor = sim, std, cov, variance_on_predictor

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        return self._loss(batch.require("source"), *batch.z.unbind(1))

    def prediction_error(self, predicted: Tensor, target: Tensor) -> Tensor:
        return invariance(predicted, target)

    @full_precision
    def _loss(self, source: Tensor, predicted: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.prediction_error(predicted, target)
        std = (variance_hinge(source) + variance_hinge(target)) / 2
        cov = covariance_penalty(source) + covariance_penalty(target)
        loss = self.sim * error + self.std * std + self.cov * cov
        terms = {"equivariance": error, "variance": std, "covariance": cov}
        if self.variance_on_predictor:
            terms["predictor_variance"] = variance_hinge(predicted) / 2
            loss = loss + self.std * terms["predictor_variance"]
        return loss, {name: term.detach() for name, term in terms.items()}


class PredictedCosine(Objective):
    """``2 - 2 cos`` of prediction and target, one way (conditional BYOL; the target is a momentum teacher's there).

    No gradient reaches the target.

    Args:
        dim: width of the embeddings.
    """

    most_views = 2
    for_predictions = True

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        predicted, target = batch.z.unbind(1)
        loss = self.prediction_error(predicted, target.detach())
        return loss, {"equivariance": loss.detach()}
