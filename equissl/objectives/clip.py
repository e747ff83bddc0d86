"""Symmetric InfoNCE with a learnable or a fixed temperature."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.clip import LogitScale, clip
from equissl.objectives.base import Embedded, Objective


class CLIP(Objective):
    """InfoNCE in both directions between all pairs of views (Radford et al., ICML 2021).

    Args:
        dim: width of the embeddings.
        temperature: initial value.
        limit: largest inverse temperature.
        learned: False keeps the initial temperature.
    """

    def __init__(self, dim: int, temperature: float = 0.07, limit: float = 100.0, learned: bool = True) -> None:
        super().__init__()
        self.temperature = LogitScale(temperature, limit).requires_grad_(learned)

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        temperature = self.temperature()
        loss = clip(batch.z, temperature)
        return loss, {"clip": loss.detach(), "temperature": temperature.detach()}
