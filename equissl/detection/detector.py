"""Base of detectors: a voxel encoder that pretraining can fill, a neck over the ground, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.detection.detections import Detections
from equissl.detection.head import DetectionHead
from equissl.detection.neck import BEVNeck, NeckConfig
from equissl.encoders.voxel import SweepFeatures, VoxelEncoderConfig
from equissl.encoders.voxel.bev import compress_height
from equissl.methods.base import StepOutput, stack_features
from equissl.methods.drives.base import DriveMethod

DEFAULT_NECK = NeckConfig()


class Detector(DriveMethod):
    """Detector of boxes of objects in single sweeps.

    A method like the pretraining ones, whose training, checkpoints and curves it shares; it learns from labelled
    sweeps (`SweepBatch`).

    Args:
        encoder: encoder of the clouds; its ``backbone`` is what pretraining hands over.
        neck: over the bird's-eye view.
        classes: to detect, at least one, with different names.
        frozen: leave the backbone as it was handed over, its BatchNorm statistics included.
        norm_momentum: of all BatchNorm layers. 0.01 is that of long trainings; in one of a few hundred steps the
            running statistics, which detection is done with, need 0.1 to keep up.

    Raises:
        ValueError: for no classes or two of one name, or a grid whose cells the neck's strides do not divide.
    """

    kind = "sweeps"
    batch = SweepBatch  # type: ignore[assignment]
    views = 1
    dense_head: DetectionHead

    def __init__(
        self,
        encoder: VoxelEncoderConfig,
        neck: NeckConfig,
        classes: Sequence[ObjectClass],
        frozen: bool,
        norm_momentum: float,
    ) -> None:
        super().__init__(encoder)
        names = [kind.name for kind in classes]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected at least one class, all of different names, got {names}")
        if any(side % neck.multiple for side in self.encoder.bev_shape):
            got = f"{self.encoder.bev_shape} cells (y, x) and strides {neck.strides}"
            raise ValueError(f"expected the neck's strides to divide the cells of the bird's-eye view, got {got}")
        self.classes, self.frozen, self.norm_momentum = tuple(classes), frozen, norm_momentum
        self.backbone_2d = BEVNeck(self.encoder.feature_dim, neck)
        rows, columns = (int(side * neck.scale) for side in self.encoder.bev_shape)
        self.cells = (rows, columns)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def step(self, batch: SweepBatch) -> StepOutput:  # type: ignore[override]
        encoded, outputs = self._answer(batch.clouds)
        loss, terms = self.dense_head.loss(outputs, batch.boxes, batch.labels, batch.velocities)
        return StepOutput(loss, terms, stack_features([self.pooled(encoded)]))

    @torch.no_grad()
    def detect(self, clouds: Sequence[Tensor]) -> list[Detections]:
        """Detect boxes in each cloud (P, columns); in eval mode."""
        return self.dense_head.detect(self._answer(clouds)[1])

    def openpcdet_refinement(self) -> dict[str, Any]:
        """Return the keys ``MODEL.ROI_HEAD`` of OpenPCDet's configs; none of a detector with one stage."""
        return {}

    def _answer(self, clouds: Sequence[Tensor]) -> tuple[SweepFeatures, Any]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            encoded = self.encode(clouds)
            bev = compress_height(encoded.out)
        return encoded, self.dense_head(self.backbone_2d(bev))

    def _finish(self, head: DetectionHead) -> None:
        """Set the head, and settle what concerns all layers."""
        self.dense_head = head
        self.encoder.requires_grad_(not self.frozen)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = self.norm_momentum
        self.train()
