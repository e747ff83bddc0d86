"""LiDAR drives: sweeps, poses, boxes and scene flow, from recorded formats or simulated."""

from __future__ import annotations

from equissl.datasets.drives.errors import IngestError, Problem, SweepError
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep

__all__ = [
    "Boxes",
    "Drive",
    "DriveStore",
    "DriveStoreError",
    "IngestError",
    "Problem",
    "Sweep",
    "SweepError",
    "find_pairs",
]
