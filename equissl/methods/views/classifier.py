"""Fine-tuning with cross-entropy, and the linear probe: a pretrained encoder and a linear classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import gather
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.labels import LabelCheck


class Classifier(ViewMethod):
    """Class of each view by one linear layer on its representation.

    Args:
        encoder: image encoder; `equissl finetune --init RUN` takes that of the run.
        num_classes: number of classes.
        views: views of each object in a batch, each of them a sample of its own.
        frozen: leave the encoder as it was handed over, its batch norm statistics included: a linear probe.
    """

    adopts_encoder = True
    num_classes: int

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        num_classes: int = 10,
        views: int = 1,
        frozen: bool = False,
    ) -> None:
        super().__init__(encoder)
        if num_classes < 2 or views < 1:
            raise ValueError(f"expected num_classes of at least 2 and views of at least 1, got {num_classes}, {views}")
        self.classifier = nn.Linear(self.feature_dim, num_classes)
        self.num_classes, self.views, self.frozen = num_classes, views, frozen
        self.check_labels = LabelCheck(num_classes)
        self.encoder.requires_grad_(not frozen)
        self.train()

    @property
    def label(self) -> str:
        return "linear probe" if self.frozen else "fine-tuning"

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.encoded(batch)
        logits = torch.cat(gather_together(*(self.classifier(view) for view in views)))
        loss = F.cross_entropy(logits, self.global_labels(batch))
        return StepOutput(loss, detach_terms(cross_entropy=loss), stack_features(views))

    def class_logits(self, parts: dict[str, Tensor]) -> Tensor:
        return self.classifier(parts["all"])

    def encoded(self, batch: ViewBatch) -> list[Tensor]:
        """Encode the views, without a graph where the encoder is frozen; (B, D) for each."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.view_features(batch)

    def global_labels(self, batch: ViewBatch) -> Tensor:
        """Gather the (V · B,) classes of all views of the global batch, view by view.

        Raises:
            ValueError: for labels outside the classes.
        """
        self.check_labels(batch.labels)
        return gather(batch.labels).repeat(self.views)
