"""Plain predictor: an MLP on action and embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.predictors.action_predictor import ConcatenatedAction


class MLPPredictor(ConcatenatedAction, nn.Sequential):
    """An MLP of ``layers`` linear layers on concat(z, e), all of width D, with ReLU between them.

    The alternative to the hypernetwork in SIE (Garrido et al. 2023), as in EquiMod (Devillers and Lefort 2022).

    Args:
        dim: D, size of embedding and prediction.
        action_dim: size of z.
        layers: number of linear layers.

    Raises:
        ValueError: if ``layers`` is below 1.
    """

    def __init__(self, dim: int, action_dim: int = 4, layers: int = 1) -> None:
        if layers < 1:
            raise ValueError(f"expected at least 1 layer, got {layers}")
        modules: list[nn.Module] = [nn.Linear(action_dim + dim, dim)]
        for _ in range(layers - 1):
            modules += [nn.ReLU(), nn.Linear(dim, dim)]
        super().__init__(*modules)

    def forward(self, embedding: Tensor, action: Tensor) -> Tensor:  # type: ignore[override]
        """Predict the embedding (B, D) of the second view.

        Args:
            embedding: (B, D) of the first view.
            action: (B, action_dim).
        """
        return super().forward(torch.cat([action, embedding], dim=1))
