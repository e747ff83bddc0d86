"""SimCLR on the views of an object: Chen et al. 2020 (arXiv 2002.05709)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import nt_xent
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod


class SimCLR(ViewMethod):
    """Each view picks the other view of its object among all views of the batch.

    Args:
        encoder: image encoder.
        projector: sizes of the projector's layers.
        temperature: divides the cosine similarities.
        projector_norm: see `norm` of :class:`equissl.encoders.Projector`.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        temperature: float = 0.1,
        projector_norm: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.projector = Projector(self.feature_dim, projector, projector_norm)
        self.temperature = temperature

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        pair = gather_together(*(self.projector(view) for view in views))
        loss = nt_xent(torch.stack(pair, dim=1), self.temperature)
        return StepOutput(loss, detach_terms(nt_xent=loss), stack_features(views))

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])
