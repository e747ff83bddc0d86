"""Poses of drives that have none, from their sweeps alone."""

from __future__ import annotations

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.odometry.base import Odometry
from equissl.util.registry import Registry

__all__ = ["ODOMETRIES", "Odometry"]

ODOMETRIES: Registry[type[Odometry]] = Registry(
    "odometry",
    {
        "icp": "equissl.datasets.drives.odometry.icp:GeneralisedIcp",
        "kiss": "equissl.datasets.drives.odometry.kiss:KissIcp",
    },
    group="equissl.odometries",
    base=Odometry,
    error=IngestError,
)
