"""Regression of another view by a predictor: BYOL (Grill et al., NeurIPS 2020) and SimSiam (Chen, He, CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.losses.negative_cosine import byol, simsiam
from equissl.objectives.base import Embedded
from equissl.objectives.queries import QueryObjective


def predictor_mlp(dim: int, hidden: int) -> nn.Sequential:
    """Create linear, batch norm, ReLU, linear; without the batch norm both methods collapse.

    Args:
        dim: size of input and output.
        hidden: size of the hidden layer.
    """
    return nn.Sequential(nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim))


def predict_views(predictor: nn.Module, z: Tensor) -> Tensor:
    """Compute predictions (B, V, D), one view after the other, so that batch norm sees one view at a time.

    Args:
        predictor: the head.
        z: (B, V, D) embeddings.
    """
    return torch.stack([predictor(view) for view in z.unbind(1)], dim=1)


class BYOL(QueryObjective):
    """Predictions of the momentum teacher's embeddings of the other views.

    Args:
        dim: width of the embeddings.
        hidden: width of the predictor's hidden layer.
        momentum: of the teacher, at the first and at the last step.
    """

    needs = frozenset({"teacher"})
    term = "byol"

    def __init__(self, dim: int, hidden: int = 4096, momentum: tuple[float, float] = (0.996, 1.0)) -> None:
        super().__init__()
        self.predictor = predictor_mlp(dim, hidden)
        self.momentum = momentum

    def queries(self, batch: Embedded) -> Tensor:
        return predict_views(self.predictor, batch.z)

    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        return byol(queries, batch.require("teacher"))


class SimSiam(QueryObjective):
    """Predictions of the encoder's own embeddings of the other views, through which no gradient flows.

    Args:
        dim: width of the embeddings.
        hidden: width of the predictor's hidden layer; a bottleneck of a quarter in the paper, which None takes.
    """

    term = "simsiam"

    def __init__(self, dim: int, hidden: int | None = None) -> None:
        super().__init__()
        self.predictor = predictor_mlp(dim, max(1, dim // 4) if hidden is None else hidden)

    def queries(self, batch: Embedded) -> Tensor:
        return predict_views(self.predictor, batch.z)

    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        return simsiam(queries, batch.z)
