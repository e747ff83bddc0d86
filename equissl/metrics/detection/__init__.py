"""Average precision of 3D detection: KITTI's, nuScenes', and a plain one by distance and number of points.

Each metric takes sweep after sweep by ``update(preds, target)`` and answers ``compute()`` with flat results; in float64
on the CPU, without compiled code of its own.
"""

from equissl.metrics.detection.boxes import DetectedBoxes, LabelledBoxes
from equissl.metrics.detection.kitti import KittiAP, kitti_labels
from equissl.metrics.detection.nuscenes import NuScenesDetection
from equissl.metrics.detection.ranges import RangeAP

__all__ = [
    "DetectedBoxes",
    "KittiAP",
    "LabelledBoxes",
    "NuScenesDetection",
    "RangeAP",
    "kitti_labels",
]
