"""LiDAR drives: sweeps, poses, boxes and scene flow, from recorded formats or simulated."""

from __future__ import annotations

from equissl.datasets.lidar.errors import IngestError, Problem, SweepError
from equissl.datasets.lidar.pairs import find_pairs
from equissl.datasets.lidar.scene_store import SceneStore, SceneStoreError
from equissl.datasets.lidar.sweep import Boxes, Sequence, Sweep

__all__ = [
    "Boxes",
    "IngestError",
    "Problem",
    "SceneStore",
    "SceneStoreError",
    "Sequence",
    "Sweep",
    "SweepError",
    "find_pairs",
]
