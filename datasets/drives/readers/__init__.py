"""Recorded formats of LiDAR drives, one file each."""

from __future__ import annotations

from pathlib import Path

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.readers.base import Reader
from equissl.util.registry import Registry

__all__ = ["READERS", "Reader", "open_reader"]

READERS: Registry[type[Reader]] = Registry(
    "format",
    {
        "argoverse2": "equissl.datasets.drives.readers.argoverse2:Argoverse2",
        "folder": "equissl.datasets.drives.readers.folder:Folder",
        "kitti-360": "equissl.datasets.drives.readers.kitti360:Kitti360",
        "kitti-object": "equissl.datasets.drives.readers.kitti_object:KittiObject",
        "kitti-odometry": "equissl.datasets.drives.readers.kitti_odometry:KittiOdometry",
        "kitti-raw": "equissl.datasets.drives.readers.kitti_raw:KittiRaw",
        "kitti-tracking": "equissl.datasets.drives.readers.kitti_tracking:KittiTracking",
        "nuscenes": "equissl.datasets.drives.readers.nuscenes:NuScenes",
        "openscene": "equissl.datasets.drives.readers.openscene:OpenScene",
        "semantickitti": "equissl.datasets.drives.readers.semantickitti:SemanticKitti",
        "waymo": "equissl.datasets.drives.readers.waymo:Waymo",
    },
    group="equissl.readers",
    base=Reader,
    error=IngestError,
)


def open_reader(name: str, root: Path | str) -> Reader:
    """Open a folder of recorded drives.

    Args:
        name: one of :data:`READERS`, or the import path of a subclass of `Reader`.
        root: the folder.

    Raises:
        IngestError: for an unknown format, with the nearest one, or a folder that is not there.
    """
    reader, root = READERS[name], Path(root)
    if not root.is_dir():
        raise IngestError(f"expected a folder at {root}, found {'a file' if root.exists() else 'nothing'}")
    return reader(root)
