"""Voxel R-CNN (Deng et al., AAAI 2021), as OpenPCDet trains it: 7,586,620 parameters for cars alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equissl.detection.anchor_head import AnchorHead, AnchorWeights
from equissl.detection.anchors import KITTI_ANCHORS, AnchorClass
from equissl.detection.detections import Detections, SelectConfig
from equissl.detection.detector import Detector
from equissl.detection.grid_pool import PoolConfig
from equissl.detection.neck import NeckConfig
from equissl.detection.roi_head import RoIHead, RoILayers
from equissl.detection.roi_targets import SampleConfig
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.methods.base import StepOutput, stack_features
from equissl.methods.drives.base import DEFAULT_VOXELS

if TYPE_CHECKING:
    from equissl.datasets.sweeps.labelled_sweeps import SweepBatch

DEFAULT_NECK = NeckConfig(widths=(64, 128), up_widths=(128, 128))
DEFAULT_WEIGHTS = AnchorWeights()
TRAIN_PROPOSALS = SelectConfig(score=0.0, overlap=0.8, before=9000, after=512)
TEST_PROPOSALS = SelectConfig(score=0.0, overlap=0.7, before=2048, after=100)
DEFAULT_POOL, DEFAULT_SAMPLE, DEFAULT_LAYERS = PoolConfig(), SampleConfig(), RoILayers()
DEFAULT_CHOICE = SelectConfig(score=0.3, overlap=0.1)


class VoxelRCNN(Detector):
    """Two-stage detector: anchors as in SECOND propose boxes, the backbone's voxels inside refine each.

    Args:
        encoder: encoder of the clouds.
        neck: over the bird's-eye view.
        classes: to detect, with their anchors.
        weights: weights of the first stage's losses.
        train_proposals, test_proposals: which of the anchors' boxes the second stage gets.
        pool: what it sees of them.
        sample: which of them it learns from.
        layers: layers of the second stage, with the weights of its losses.
        choose: how detections are selected.
        frozen, norm_momentum: see `Detector`.
    """

    dense_head: AnchorHead

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        neck: NeckConfig = DEFAULT_NECK,
        classes: Sequence[AnchorClass] = KITTI_ANCHORS,
        weights: AnchorWeights = DEFAULT_WEIGHTS,
        train_proposals: SelectConfig = TRAIN_PROPOSALS,
        test_proposals: SelectConfig = TEST_PROPOSALS,
        pool: PoolConfig = DEFAULT_POOL,
        sample: SampleConfig = DEFAULT_SAMPLE,
        layers: RoILayers = DEFAULT_LAYERS,
        choose: SelectConfig = DEFAULT_CHOICE,
        frozen: bool = False,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__(encoder, neck, classes, frozen, norm_momentum)
        self.train_proposals = train_proposals
        self.roi_head = RoIHead(self.encoder.channels, self.encoder.grid, pool, sample, layers, choose)
        point_range, channels = self.encoder.config.point_range, self.backbone_2d.out_channels
        self._finish(AnchorHead(channels, classes, point_range, self.cells, test_proposals, weights))

    def openpcdet_refinement(self) -> dict[str, Any]:
        return self.roi_head.openpcdet()

    def step(self, batch: SweepBatch) -> StepOutput:  # type: ignore[override]
        encoded, outputs = self._answer(batch.clouds)
        first, terms = self.dense_head.loss(outputs, batch.boxes, batch.labels)
        proposals = self.dense_head.detect(outputs, self.train_proposals)
        second, more = self.roi_head.loss(encoded, proposals, batch.boxes, batch.labels, batch.seeds.tolist())
        return StepOutput(first + second, {**terms, **more}, stack_features([self.pooled(encoded)]))

    @torch.no_grad()
    def detect(self, clouds: Sequence[Tensor]) -> list[Detections]:
        encoded, outputs = self._answer(clouds)
        return self.roi_head.detect(encoded, self.dense_head.detect(outputs))
