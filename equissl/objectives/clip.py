"""Symmetric InfoNCE with a learnable or a fixed temperature."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.clip import LogitScale, clip
from equissl.objectives.base import Embedded
from equissl.objectives.queries import QueryObjective, in_turn


class CLIP(QueryObjective):
    """InfoNCE in both directions between all pairs of views (Radford et al., ICML 2021).

    Args:
        dim: width of the embeddings.
        temperature: initial value.
        limit: largest inverse temperature.
        learned: False keeps the initial temperature.
    """

    term = "clip"

    def __init__(self, dim: int, temperature: float = 0.07, limit: float = 100.0, learned: bool = True) -> None:
        super().__init__()
        self.temperature = LogitScale(temperature, limit).requires_grad_(learned)

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = super().forward(batch)
        return loss, terms | {"temperature": self.temperature().detach()}

    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        temperature = self.temperature()
        return in_turn(lambda z: clip(z, temperature), queries, batch.z)
