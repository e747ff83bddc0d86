"""MCLRec: meta-optimised contrastive learning for sequential recommendation (Qin et al., SIGIR 2023, 2306.03448)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from equissl.datasets.interactions.sequences import InteractionBatch
from equissl.encoders.sequence import SequenceEncoderConfig
from equissl.methods.base import Phase, StepOutput, detach_terms, stack_features
from equissl.methods.interactions.sasrec import SASRec
from equissl.methods.learned_views import VIEWS, LearnedViews, inner_nt_xent

Updates = Literal["two", "three", "joint"]
ENCODER, AUGMENTERS = Phase("step", ("encoder",)), Phase("augment", ("learned_views",))
PHASES: dict[str, tuple[Phase, ...]] = {
    "two": (ENCODER, AUGMENTERS),
    "three": (ENCODER, AUGMENTERS, ENCODER),
    "joint": (Phase(),),
}


class MCLRec(SASRec):
    """SASRec with two random views of each sequence, and two learned views of those.

    Stage 1 moves the encoder: next item + λ·con(h1, h2) + β·(con(z1, z2) + con(h1, z2) + con(h2, z1) + γ·R), the
    augmenters z = w(h) being frozen. Stage 2 encodes the views again with the moved encoder, and moves the augmenters
    alone on the contrast of learned views + γ·R. No gradient goes through the encoder's update (first order). con is
    NT-Xent of inner products. The release sets γ in this way, relative to β in stage 1, and repeats stage 1 at the end
    of each batch; the paper has two stages. Ours: the cosine, the encoder of stage 2 without gradient, and λ, β of any
    size (the release searches 0.01 to 0.5).

    Args:
        encoder: of item sequences.
        hidden: widths within an augmenter.
        contrast: λ, weight of the contrast of the random views.
        learned: β, weight of the contrast with the learned views.
        gap: γ, weight of the regulariser within the latter; 0 leaves it out.
        gap_by_row: True for the released form of the regulariser, False for the paper's, see `similarity_gap`.
        temperature: of the contrast of the random views; that with learned views has 1.
        cosine: compare directions instead of inner products, whose size nothing bounds.
        updates: ``two`` stages as in the paper, ``three`` as in the release, or ``joint``: one update of all by stage
            1's loss, the ablation without alternation.

    Raises:
        ValueError: for unknown ``updates``.
    """

    random_views = VIEWS

    def __init__(
        self,
        encoder: SequenceEncoderConfig,
        hidden: Sequence[int] = (32, 16),
        contrast: float = 0.0,
        learned: float = 0.01,
        gap: float = 0.1,
        gap_by_row: bool = True,
        temperature: float = 1.0,
        cosine: bool = False,
        updates: Updates = "two",
    ) -> None:
        super().__init__(encoder)
        if updates not in PHASES:
            raise ValueError(f"expected updates in {list(PHASES)}, got {updates!r}")
        self.updates, self.phases = updates, PHASES[updates]
        self.learned_views = LearnedViews(self.feature_dim, hidden, gap, gap_by_row, cosine)
        self.contrast, self.learned, self.temperature = contrast, learned, temperature

    @property
    def label(self) -> str:
        """Name with the updates that are not the paper's."""
        return "MCLRec" if self.updates == "two" else f"MCLRec {self.updates}"

    def step(self, batch: InteractionBatch) -> StepOutput:
        """Compute the loss of stage 1."""
        loss, states = self.next_item(batch)
        terms = {"next_item": loss}
        views = self.encoded_views(batch)
        learned, found = self.learned_views(views)
        loss = loss + self.learned * learned
        if self.contrast:
            first, second = self.learned_views.gathered(*views)
            terms["random_views"] = inner_nt_xent(first, second, self.temperature)
            loss = loss + self.contrast * terms["random_views"]
        return StepOutput(loss, detach_terms(**terms, **found), states.unsqueeze(1))

    def augment(self, batch: InteractionBatch) -> StepOutput:
        """Compute the loss of stage 2."""
        with torch.no_grad():
            views = self.encoded_views(batch)
        loss, _ = self.learned_views(views)
        return StepOutput(loss, detach_terms(augmenters=loss), stack_features(views))

    def encoded_views(self, batch: InteractionBatch) -> list[Tensor]:
        """Compute the representations h (B, D) of each of the random views."""
        return [self.encoder.last(view) for view in batch.views.unbind(1)]
