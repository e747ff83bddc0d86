"""SASRec: self-attentive sequential recommendation (Kang and McAuley, ICDM 2018, arXiv 1808.09781)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equissl.datasets.interactions.sequences import InteractionBatch
from equissl.encoders.sequence import SequenceEncoder, SequenceEncoderConfig
from equissl.losses import gather
from equissl.losses.next_item import next_item_loss
from equissl.methods.base import Method, StepOutput, detach_terms, widen


class SASRec(Method):
    """Next item of a sequence from those before it.

    The paper's loss contrasts the true item with one sampled item at every place; here all items are in the
    denominator, see `next_item_loss`.

    Attributes:
        random_views: random views that training draws of each sequence.

    Args:
        encoder: of item sequences.
    """

    kind, batch, views = "interactions", InteractionBatch, 1
    random_views: ClassVar[int] = 0
    encoder: SequenceEncoder

    def __init__(self, encoder: SequenceEncoderConfig) -> None:
        super().__init__(encoder)

    def step(self, batch: InteractionBatch) -> StepOutput:
        loss, states = self.next_item(batch)
        return StepOutput(loss, detach_terms(next_item=loss), states.unsqueeze(1))

    def next_item(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Compute the loss of all next items of the global batch, and the detached states (B, D) at the last ones.

        Args:
            batch: with targets.
        """
        states = self.encoder(batch.items)
        wanted = batch.targets > 0
        losses = next_item_loss(states[wanted], self.encoder.embeddings(), batch.targets[wanted] - 1)
        # processes have different numbers of targets: the mean is taken of all of them together
        total, count = gather(torch.stack([losses.sum(), wanted.sum().to(losses.dtype)])[None]).sum(0)
        ends = (batch.items > 0).sum(1) - 1
        return total / count, widen(states[torch.arange(len(ends), device=ends.device), ends].detach())

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        """Compute the representation of sequences (N, L): the state at the last item."""
        return {"all": widen(self.encoder.last(inputs))}

    def item_scores(self, states: Tensor) -> Tensor:
        """Compute the scores (N, items) of every item to come next, from representations (N, D)."""
        return states @ widen(self.encoder.embeddings()).T
