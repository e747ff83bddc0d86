"""Layout of a drive store, and the arrays of a sweep in it.

One HDF5 file. Every drive is a group, every sweep a group in it named by its timestamp, with the arrays of an
OpenSceneFlow log: ``lidar`` (N, 3 or 4), ``pose`` (relative to the drive's first, so that float32 is enough),
``ground_mask``, ``flow``, ``flow_is_valid``, ``flow_category_indices``, ``ego_motion``; and beyond these ``times``,
``semantic``, ``vehicle_lidar``, ``ground_plane``, ``boxes``, ``box_names``, ``box_tracks``, ``box_num_points``,
``box_velocities``. What a sweep does not have, or what a store is too old to hold, is not there and so unknown. The
group ``_index`` holds, for every drive, its timestamps in order and its poses in float64.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.sweep import Boxes, Sweep, ego_motion, invert_pose
from equissl.datasets.hdf5 import fixed_strings

FORMAT = "equissl-drive-store"
FORMAT_VERSION = 1
INDEX = "_index"
# attribute of a sweep, its name in the file, type
POINT_ARRAYS = (
    ("ground", "ground_mask", np.bool_),
    ("flow", "flow", np.float32),
    ("flow_valid", "flow_is_valid", np.bool_),
    ("flow_classes", "flow_category_indices", np.uint8),
    ("times", "times", np.float32),
    ("semantic", "semantic", np.int32),
)
# of the sweep as a whole; attribute and name in the file are the same
SWEEP_ARRAYS = ("vehicle_lidar", "ground_plane")
BOX_VELOCITIES = "box_velocities"


class DriveStoreError(IngestError):
    """A file that is not a whole drive store of a known version; the message says what was expected and what came."""


def write_sweep(group: h5py.Group, sweep: Sweep, origin: np.ndarray | None, next_pose: np.ndarray | None) -> None:
    """Write one sweep as a group named by its timestamp.

    Args:
        group: HDF5 group of the drive.
        sweep: what to write.
        origin: (4, 4) pose that becomes the identity in the file's ``pose``.
        next_pose: (4, 4) of the next sweep, for ``ego_motion``; None where there is none.
    """
    target = group.create_group(str(sweep.timestamp))
    columns = [sweep.points] if sweep.intensity is None else [sweep.points, sweep.intensity[:, None]]
    target["lidar"] = np.concatenate(columns, axis=1).astype(np.float32)
    for attribute, name, kind in POINT_ARRAYS:
        if (value := getattr(sweep, attribute)) is not None:
            target[name] = value.astype(kind)
    if sweep.flow is not None and sweep.flow_valid is None:
        target["flow_is_valid"] = np.ones(len(sweep), dtype=np.bool_)
    if sweep.pose is not None:
        target["pose"] = (sweep.pose if origin is None else invert_pose(origin) @ sweep.pose).astype(np.float32)
        if next_pose is not None:
            target["ego_motion"] = ego_motion(sweep.pose, next_pose).astype(np.float32)
    for name in SWEEP_ARRAYS:
        if (value := getattr(sweep, name)) is not None:
            target[name] = value.astype(np.float64)
    if sweep.boxes is not None:
        _write_boxes(target, sweep.boxes)
    target.attrs["frame"] = np.bytes_(sweep.frame.encode())
    if sweep.flow_provider:
        target.attrs["flow_provider"] = np.bytes_(sweep.flow_provider.encode())


def _write_boxes(target: h5py.Group, boxes: Boxes) -> None:
    target["boxes"] = boxes.boxes
    target["box_names"], target["box_tracks"] = fixed_strings(boxes.names), fixed_strings(boxes.tracks)
    if boxes.num_points is not None:
        target["box_num_points"] = boxes.num_points
    if boxes.velocities is not None:
        target[BOX_VELOCITIES] = boxes.velocities


def read_sweep(group: h5py.Group, timestamp: int, pose: np.ndarray | None) -> Sweep:
    """Read the sweep that ``write_sweep`` wrote, or one of an OpenSceneFlow log.

    Args:
        group: HDF5 group of the sweep.
        timestamp: nanoseconds.
        pose: (4, 4), or None where unknown.

    Raises:
        DriveStoreError: where ``lidar`` is missing or has another shape.
    """
    if "lidar" not in group or group["lidar"].ndim != 2 or group["lidar"].shape[1] < 3:
        raise DriveStoreError(f"expected lidar of shape (N, 3 or more) in {group.file.filename}:{group.name}")
    lidar = group["lidar"][()].astype(np.float32, copy=False)
    arrays = {attribute: group[name][()].astype(kind) for attribute, name, kind in POINT_ARRAYS if name in group}
    arrays |= {name: group[name][()] for name in SWEEP_ARRAYS if name in group}
    return Sweep(
        points=np.ascontiguousarray(lidar[:, :3]),
        timestamp=timestamp,
        pose=pose,
        intensity=np.ascontiguousarray(lidar[:, 3]) if lidar.shape[1] > 3 else None,
        boxes=_read_boxes(group) if "boxes" in group else None,
        flow_provider=text(group.attrs["flow_provider"]) if "flow_provider" in group.attrs else None,
        frame=text(group.attrs.get("frame", b"")) or str(timestamp),
        **arrays,
    )


def _read_boxes(group: h5py.Group) -> Boxes:
    optional = (group[name][()] if name in group else None for name in ("box_num_points", BOX_VELOCITIES))
    return Boxes(group["boxes"][()], strings(group, "box_names"), strings(group, "box_tracks"), *optional)


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def strings(group: h5py.Group, name: str) -> tuple[str, ...]:
    """Read a dataset of strings.

    Args:
        group: that holds it.
        name: name of the dataset.
    """
    return tuple(value.decode() for value in group[name][()].tolist())
