"""SIRL: a representation learned from similarity queries (Bobu et al. 2023, arXiv 2301.00810).

The paper's: queries about which two of three are most alike, triplets with both as anchors, a small network f, which
is then frozen below a preference head. Its loss is recalled, not read in its text. Ours: f sees single images instead
of trajectories, whose embedding is the sum of their states', and the softmax over pairs as another loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import query_distances, query_softmax, query_triplets
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod


class SIRL(ViewMethod):
    """Views that an answer calls alike lie nearer to each other than to the odd one out.

    Args:
        encoder: image encoder.
        projector: sizes of the layers between encoder and f; the last is the size of f, about 6 in the paper.
        loss: ``triplets``, the two-anchor hinge, or ``softmax`` over the three pairs.
        margin: of the hinge, in squared distance.
        temperature: of the softmax, in squared distance.

    Raises:
        ValueError: for another loss, or a margin or temperature that is not above 0.
    """

    views = 3
    learns_from_queries = True

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (256, 6),
        loss: Literal["triplets", "softmax"] = "triplets",
        margin: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        if loss not in ("triplets", "softmax"):
            raise ValueError(f"expected loss to be 'triplets' or 'softmax', got {loss!r}")
        if not (margin > 0 and temperature > 0):
            raise ValueError(f"expected margin and temperature above 0, got {margin} and {temperature}")
        self.projector = Projector(self.feature_dim, projector)
        self.loss, self.margin, self.temperature = loss, margin, temperature

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)  # P1 and P2, which are alike, and N, the odd one out
        embeddings = torch.stack(gather_together(*(self.projector(view) for view in views)), dim=1)
        if self.loss == "triplets":
            loss = query_triplets(embeddings, self.margin)
        else:
            loss = query_softmax(embeddings, self.temperature)
        terms = detach_terms(**{self.loss: loss}, agreement=agreement(embeddings))
        return StepOutput(loss, terms, stack_features(views))

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        """Compute f, which a preference head works on."""
        return self.projector(parts["all"])


def agreement(embeddings: Tensor) -> Tensor:
    """Compute the share of queries whose answered pair is the closest one.

    Args:
        embeddings: (Q, 3, D) in the order P1, P2, N.
    """
    alike, first, second = query_distances(embeddings)
    return ((alike < first) & (alike < second)).to(embeddings.dtype).mean()
