"""Predictor that embeds the action first, as SEN, EquiMod and conditional BYOL do in seq-JEPA's comparison."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.predictors.action_predictor import ConcatenatedAction


class ActionProjector(nn.Sequential):
    """A linear layer without bias, and batch norm without weights of its own.

    Args:
        dim: size of an action.
        size: of an embedded action.
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__(nn.Linear(dim, size, bias=False), nn.BatchNorm1d(size, affine=False))


class EmbeddedActionPredictor(ConcatenatedAction, nn.Module):
    """One linear layer, or two, on concat(embedded z, e).

    EquiMod (Devillers and Lefort 2022, arXiv 2211.01244), with the action embedded as by Ghaemi et al. 2025 (arXiv
    2505.03176).

    Args:
        dim: D, size of embedding and prediction.
        action_dim: size of z.
        size: of an embedded action; 0 takes it as it is.
        hidden: width of a hidden layer with batch norm; 0 leaves it out, and norms the prediction.
    """

    def __init__(self, dim: int, action_dim: int = 4, size: int = 128, hidden: int = 0) -> None:
        super().__init__()
        self.action_projector = ActionProjector(action_dim, size) if size else nn.Identity()
        inputs = (size or action_dim) + dim
        layers: list[nn.Module] = [nn.Linear(inputs, dim, bias=False), nn.BatchNorm1d(dim, affine=False)]
        if hidden:
            layers = [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Predict the embedding (B, D) of the second view.

        Args:
            embedding: (B, D) of the first view.
            action: (B, action_dim).
        """
        return self.layers(torch.cat([self.action_projector(action), embedding], dim=1))
