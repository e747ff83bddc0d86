"""SECOND (Yan, Mao and Li, Sensors 2018), as OpenPCDet trains it: 5,325,576 parameters for KITTI's three classes."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.detection.anchor_head import AnchorHead, AnchorWeights
from equissl.detection.anchors import KITTI_ANCHORS, AnchorClass
from equissl.detection.detections import SelectConfig
from equissl.detection.detector import DEFAULT_NECK, Detector
from equissl.detection.neck import NeckConfig
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.methods.drives.base import DEFAULT_VOXELS

DEFAULT_CHOICE = SelectConfig()
DEFAULT_WEIGHTS = AnchorWeights()


class SECOND(Detector):
    """Detector by anchors of every class on every cell of the neck's map.

    Args:
        encoder: encoder of the clouds.
        neck: over the bird's-eye view.
        classes: to detect, with their anchors.
        choose: how detections are selected.
        weights: weights of the losses.
        frozen, norm_momentum: see `Detector`.
    """

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        neck: NeckConfig = DEFAULT_NECK,
        classes: Sequence[AnchorClass] = KITTI_ANCHORS,
        choose: SelectConfig = DEFAULT_CHOICE,
        weights: AnchorWeights = DEFAULT_WEIGHTS,
        frozen: bool = False,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__(encoder, neck, classes, frozen, norm_momentum)
        point_range, channels = self.encoder.config.point_range, self.backbone_2d.out_channels
        self._finish(AnchorHead(channels, classes, point_range, self.cells, choose, weights))
