"""Detectors of boxes in LiDAR sweeps, which start from pretrained voxel backbones."""

from equissl.detection.anchors import AnchorClass
from equissl.detection.center_head import CenterClass
from equissl.detection.center_point import CenterPoint
from equissl.detection.detections import Detections, SelectConfig
from equissl.detection.detector import Detector
from equissl.detection.neck import NeckConfig
from equissl.detection.second import SECOND
from equissl.detection.voxel_rcnn import VoxelRCNN

__all__ = [
    "SECOND",
    "AnchorClass",
    "CenterClass",
    "CenterPoint",
    "Detections",
    "Detector",
    "NeckConfig",
    "SelectConfig",
    "VoxelRCNN",
]
