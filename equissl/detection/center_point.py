"""CenterPoint (Yin, Zhou and Krähenbühl, CVPR 2021), its first stage, on voxels."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.datasets.sweeps.object_classes import KITTI_CLASSES
from equissl.detection.center_head import CenterClass, CenterHead, CenterWeights
from equissl.detection.detections import SelectConfig
from equissl.detection.detector import DEFAULT_NECK, Detector
from equissl.detection.neck import NeckConfig
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.methods.drives.base import DEFAULT_VOXELS

KITTI_CENTERS = tuple(CenterClass(**vars(kind)) for kind in KITTI_CLASSES)
DEFAULT_CHOICE = SelectConfig(overlap=0.2, before=1000, after=83)
DEFAULT_WEIGHTS = CenterWeights()


class CenterPoint(Detector):
    """Detector by peaks of maps of centres.

    Args:
        encoder: encoder of the clouds.
        neck: over the bird's-eye view.
        classes: to detect, with the task of each.
        choose: how detections are selected.
        weights: weights of the losses.
        velocity: also tell how fast objects move over ground.
        frozen, norm_momentum: see `Detector`.
    """

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        neck: NeckConfig = DEFAULT_NECK,
        classes: Sequence[CenterClass] = KITTI_CENTERS,
        choose: SelectConfig = DEFAULT_CHOICE,
        weights: CenterWeights = DEFAULT_WEIGHTS,
        velocity: bool = False,
        frozen: bool = False,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__(encoder, neck, classes, frozen, norm_momentum)
        point_range, channels = self.encoder.config.point_range, self.backbone_2d.out_channels
        self._finish(CenterHead(channels, classes, point_range, self.cells, choose, weights, velocity=velocity))
