"""Direct supervision of relative rotation and class: the ceiling that self-supervised methods are held against."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import full_precision, gather, invariance, unit_norm
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.labels import LabelCheck


class Supervised(ViewMethod):
    """Both views' representations to the quaternion of the relative rotation, and each one to the class.

    Args:
        encoder: image encoder.
        num_classes: number of classes; 55 in 3DIEBench.
        hidden: width of the two hidden layers of the regressor.
        rotation_loss: ``mse`` to the quaternion with w ≥ 0, or ``alignment``, 1 − ⟨q, q̂⟩², which has no sign.
        rotation: weight of the rotation loss.
        classification: weight of the cross-entropy.

    Raises:
        ValueError: for an unknown ``rotation_loss``, or when a first label lies outside the classes.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        num_classes: int = 55,
        hidden: int = 1024,
        rotation_loss: Literal["mse", "alignment"] = "mse",
        rotation: float = 1.0,
        classification: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        if rotation_loss not in ("mse", "alignment"):
            raise ValueError(f"expected rotation_loss to be 'mse' or 'alignment', got {rotation_loss!r}")
        pair = 2 * self.feature_dim
        layers = [nn.Linear(pair, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4)]
        self.regressor = nn.Sequential(*layers)
        self.classifier = nn.Linear(self.feature_dim, num_classes)
        self.num_classes, self.rotation_loss = num_classes, rotation_loss
        self.rotation, self.classification = rotation, classification
        self.check_labels = LabelCheck(num_classes)

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        self.check_labels(batch.labels)
        predicted = self.regressor(torch.cat(views, dim=1))
        target = batch.relative_quats(sign="canonical").to(predicted.dtype)
        predicted, target, x, y = gather_together(predicted, target, *(self.classifier(view) for view in views))
        loss, terms = self.loss(predicted, target, x, y, gather(batch.labels))
        return StepOutput(loss, terms, stack_features(views))

    def class_logits(self, parts: dict[str, Tensor]) -> Tensor:
        return self.classifier(parts["all"])

    def loss(
        self, predicted: Tensor, target: Tensor, x: Tensor, y: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms from global predictions.

        Args:
            predicted: (B, 4) quaternions.
            target: (B, 4) true quaternions.
            x: (B, classes) logits, first view.
            y: (B, classes) logits, second view.
            labels: (B,).
        """
        rotation = (
            quaternion_alignment(predicted, target)
            if self.rotation_loss == "alignment"
            else invariance(predicted, target)
        )
        classification = (F.cross_entropy(x, labels) + F.cross_entropy(y, labels)) / 2
        loss = self.rotation * rotation + self.classification * classification
        return loss, detach_terms(rotation=rotation, classification=classification)


@full_precision
def quaternion_alignment(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the mean 1 − ⟨q, q̂⟩², sin² of half the angle between.

    Args:
        predicted: (B, 4) of any length.
        target: (B, 4) unit quaternions.
    """
    return 1 - (unit_norm(predicted) * target).sum(dim=1).square().mean()
