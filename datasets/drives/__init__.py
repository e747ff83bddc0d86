"""LiDAR drives: sweeps, poses, boxes and scene flow, from recorded formats or simulated."""

from __future__ import annotations

from equissl.datasets.drives.errors import IngestError, Problem, SweepError
from equissl.datasets.drives.pairs import find_pairs
from equissl.datasets.drives.store import SceneStore, SceneStoreError
from equissl.datasets.drives.sweep import Boxes, Sequence, Sweep

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
