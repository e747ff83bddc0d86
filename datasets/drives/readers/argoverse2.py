"""Argoverse 2 sensor and LiDAR data sets (Wilson et al., NeurIPS Datasets and Benchmarks 2021)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.arrow_files import import_arrow, read_feather
from equissl.datasets.drives.box_velocities import with_velocities
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import numbered_files
from equissl.datasets.drives.rigid import check_pose, quaternion_to_rotmat
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep
from equissl.util.listing import entries, holds

QUATERNION, SHIFT = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
SIZE = ("length_m", "width_m", "height_m")
FLOW = ("flow_tx_m", "flow_ty_m", "flow_tz_m")
POSE_FILE = "city_SE3_egovehicle.feather"
LABEL_FILE, LABEL_FOLDER = "flow_labels.feather", "flow_labels"


class Argoverse2(Reader):
    """Reader of Argoverse 2: points in the vehicle's reference frame, compensated for its motion to the timestamp.

    Sequences are logs; those in folders ``train``, ``val`` and ``test`` carry that split as an attribute. Scene flow
    labels are read where they are: ``flow_labels/<timestamp>.feather`` beside the sensors, or ``flow_labels.feather``
    for the first sweep.
    """

    format = "argoverse2"
    tree = """
<log>/                                  (below ROOT, ROOT/{train,val,test}, or ROOT itself)
  sensors/lidar/<timestamp_ns>.feather  x y z intensity laser_number offset_ns
  city_SE3_egovehicle.feather           poses
  annotations.feather                   optional
  flow_labels.feather                   optional"""

    def names(self) -> list[str]:
        import_arrow()  # before the folder is blamed
        found = sorted(path.name for path in self._logs())
        if not found:
            raise self.wrong_folder("no sweeps at <log>/sensors/lidar/*.feather")
        return found

    def _logs(self) -> list[Path]:
        places = ("*/", "*/*/", "sensor/*/*/")
        folders = [self.root, *(path for place in places for path in entries(self.root, place))]
        return [path for path in folders if holds(path / "sensors" / "lidar", "*.feather")]

    def open(self, name: str) -> Drive:
        log = next(path for path in self._logs() if path.name == name)
        files = numbered_files(log / "sensors" / "lidar", ".feather")
        timestamps, paths = np.array([*files], dtype=np.int64), [*files.values()]
        table = read_feather(log / POSE_FILE, ("timestamp_ns", *QUATERNION, *SHIFT))
        if not len(table["timestamp_ns"]):
            raise IngestError(f"expected poses in {log / POSE_FILE}, it has no rows")
        poses = self._poses(name, log / POSE_FILE, table, timestamps)
        labels = _read_labels(log / "annotations.feather", table)

        def read(place: int) -> Sweep:
            sweep = _read_sweep(paths[place], int(timestamps[place]))
            sweep.boxes = None if labels is None else labels.get(sweep.timestamp, Boxes.empty())
            sweep.vehicle_lidar = np.eye(4)
            _add_flow(sweep, log, is_first=place == 0)
            return sweep

        split = log.parent.name if log.parent.name in ("train", "val", "test") else ""
        return self.drive(name, Recording(paths, timestamps, poses, {"split": split}), read)

    def _poses(self, name: str, path: Path, table: dict[str, np.ndarray], timestamps: np.ndarray) -> np.ndarray:
        poses, problems = _poses_at(table, timestamps)
        for time, reason in problems.items():
            self.note(name, time, path, f"{reason}: the sweep has no pose")
        return poses


def _poses_at(table: dict[str, np.ndarray], timestamps: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """(T, 4, 4), NaN where unknown; and why, by time."""
    order = np.argsort(table["timestamp_ns"], kind="stable")
    known = table["timestamp_ns"][order]
    rows = np.minimum(np.searchsorted(known, timestamps), len(known) - 1)
    poses, problems = _rigid(table, order[rows]), {}
    for index, row in enumerate(rows):
        missing = known[row] != timestamps[index]
        reason = "expected a pose of exactly this time" if missing else check_pose(poses[index])
        if reason:
            problems[int(timestamps[index])] = reason
            poses[index] = np.nan
    return poses, problems


def _read_labels(path: Path, pose_table: dict[str, np.ndarray]) -> dict[int, Boxes] | None:
    """Boxes with velocities by time; the log's annotations may be of more times than its sweeps."""
    if not path.is_file():
        return None
    names = ("timestamp_ns", "track_uuid", "category", *SIZE, *QUATERNION, *SHIFT, "num_interior_pts")
    table = read_feather(path, names)
    times = np.unique(table["timestamp_ns"])
    boxes = {int(time): _boxes(table, np.flatnonzero(table["timestamp_ns"] == time)) for time in times}
    return with_velocities(boxes, dict(zip(boxes, _poses_at(pose_table, times)[0], strict=True)))


def _boxes(table: dict[str, np.ndarray], rows: np.ndarray) -> Boxes:
    """Boxes of one sweep, in its own frame."""
    rotmat = quaternion_to_rotmat(*(table[name][rows] for name in QUATERNION))
    heading = np.arctan2(rotmat[:, 1, 0], rotmat[:, 0, 0])
    columns = [table[name][rows] for name in (*SHIFT, *SIZE)]
    return Boxes(
        np.stack([*columns, heading], axis=1).astype(np.float64),
        tuple(str(name) for name in table["category"][rows]),
        tuple(str(track) for track in table["track_uuid"][rows]),
        table["num_interior_pts"][rows].astype(np.int64),
    )


def _read_sweep(path: Path, timestamp: int) -> Sweep:
    try:
        table = read_feather(path, ("x", "y", "z", "intensity", "offset_ns"))
    except IngestError as error:
        raise SweepError(path, str(timestamp), str(error)) from error
    points = np.stack([table[axis].astype(np.float32) for axis in "xyz"], axis=1)
    return Sweep(
        points=points,
        timestamp=timestamp,
        intensity=table["intensity"].astype(np.float32) / 255,
        times=table["offset_ns"].astype(np.float32) / 1e9,
        frame=str(timestamp),
    )


def _add_flow(sweep: Sweep, log: Path, is_first: bool) -> None:
    """Labels of the flow to the next sweep, and of the ground."""
    path = log / LABEL_FOLDER / f"{sweep.timestamp}.feather"
    if not path.is_file():
        path = log / LABEL_FILE
        if not (is_first and path.is_file()):
            return
    try:
        table = read_feather(path, (*FLOW, "classes", "is_ground_0"))
    except IngestError as error:
        raise SweepError(path, sweep.frame, str(error)) from error
    if len(table["classes"]) != len(sweep):
        found = len(table["classes"])
        raise SweepError(path, sweep.frame, f"expected a label for each of {len(sweep)} points, found {found}")
    flow = np.stack([table[name] for name in FLOW], axis=1).astype(np.float32)
    valid = np.asarray(np.isfinite(flow).all(axis=1))
    sweep.flow, sweep.flow_valid = np.where(valid[:, None], flow, 0), valid
    sweep.flow_classes, sweep.flow_provider = table["classes"].astype(np.uint8), "labels"
    sweep.ground = table["is_ground_0"].astype(bool)


def _rigid(table: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    poses = np.zeros((len(rows), 4, 4))
    poses[:, :3, :3] = quaternion_to_rotmat(*(table[name][rows] for name in QUATERNION))
    poses[:, :3, 3] = np.stack([table[name][rows] for name in SHIFT], axis=1)
    poses[:, 3, 3] = 1
    return poses
