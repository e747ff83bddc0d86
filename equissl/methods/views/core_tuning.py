"""Contrast-regularised fine-tuning: Core-tuning, Zhang et al. 2021 (NeurIPS, arXiv 2102.06605).

After the authors' release. The corrections of :mod:`equissl.losses.core_tuning` are ours, and so is the encoder: any.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import focal_supcon, hard_mixtures
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.classifier import Classifier
from equissl.objectives.draws import Draws


class CoreTuning(Classifier):
    """Cross-entropy and focal contrast on features and hard mixtures of them.

    The classifier learns from features and mixtures, which smooths its boundary; the encoder learns from mixtures.

    Args:
        encoder, num_classes, views: see :class:`Classifier`.
        contrast: sizes of the contrast head's two layers; None takes the representation's and 256.
        eta: weight of the focal contrast; 0 leaves the cross-entropy of the mixtures. 0.1 is that of the authors'
            recipe for CIFAR-10.
        temperature: of the contrast.
        concentration: of the Beta distribution of the mixtures' shares.
        least: lowest share of the random row in a semi-hard negative.
        average: of the contrast's terms, see :func:`equissl.losses.focal_supcon`; the authors' is ``columns``.

    Raises:
        ValueError: for a weight below 0.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        num_classes: int = 10,
        views: int = 1,
        contrast: tuple[int, int] | None = None,
        eta: float = 0.1,
        temperature: float = 0.07,
        concentration: float = 1.0,
        least: float = 0.8,
        average: Literal["positives", "columns"] = "positives",
    ) -> None:
        super().__init__(encoder, num_classes, views)
        if eta < 0:
            raise ValueError(f"expected eta of at least 0, got {eta}")
        hidden, out = contrast or (self.feature_dim, 256)
        self.contrast_head = nn.Sequential(nn.Linear(self.feature_dim, hidden), nn.ReLU(), nn.Linear(hidden, out))
        self.eta, self.temperature, self.average = eta, temperature, average
        self.concentration, self.least = concentration, least
        self.draws = Draws()

    @property
    def label(self) -> str:
        return "Core-tuning"

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.encoded(batch)
        features = torch.cat(gather_together(*views))
        labels = self.global_labels(batch)
        # one_hot would make the device wait
        targets = torch.eye(self.num_classes, dtype=features.dtype, device=features.device)[labels]
        mixed, soft = hard_mixtures(features, targets, labels, self.concentration, self.least, self.draws.generator())
        cross_entropy = F.cross_entropy(self.classifier(mixed), soft)
        contrast = focal_supcon(self.contrast_head(mixed), soft, self.temperature, self.average)
        loss = cross_entropy + self.eta * contrast
        return StepOutput(loss, detach_terms(cross_entropy=cross_entropy, contrast=contrast), stack_features(views))
