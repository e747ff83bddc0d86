"""nuScenes (Caesar et al., CVPR 2020): 20 Hz sweeps of a 32-beam LiDAR, boxes at key frames."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.drives.box_velocities import in_axes, track_velocities
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.point_files import check_intensity, read_floats
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.rigid import check_pose, quaternion_to_rotmat
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, invert_pose
from equissl.datasets.drives.text_files import read_text
from equissl.util.listing import entries

CHANNEL = "LIDAR_TOP"
COLUMNS = 5  # x y z intensity ring
TABLES = ("scene", "sample", "sample_data", "calibrated_sensor", "ego_pose", "sensor")
LABEL_TABLES = ("sample_annotation", "instance", "category")
EGO_RETURNS = 1.0  # metres: returns of the car itself, in a square about the sensor
# the sensor's own axes are x right, y ahead
SENSOR_FROM_OURS = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
Row = dict[str, Any]


class NuScenes(Reader):
    """Reader of nuScenes: sweeps in the LiDAR's place with x ahead; its own axes (x right, y ahead) are turned.

    Sequences are scenes. Key frames have boxes, sweeps between them have none; velocities are differences between key
    frames. The ego poses have height 0, and their roll and pitch are not reliable: expect vertical residuals between
    sweeps.
    """

    format = "nuscenes"
    tree = """
v1.0-mini/                    (or v1.0-trainval, v1.0-test)
  scene.json  sample.json  sample_data.json  calibrated_sensor.json  ego_pose.json  sensor.json
  sample_annotation.json  instance.json  category.json     optional
samples/LIDAR_TOP/*.pcd.bin   float32 x y z intensity ring
sweeps/LIDAR_TOP/*.pcd.bin"""
    rate = 20.0

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._tables: dict[str, dict[str, Row]] = {}
        self._by_scene: dict[str, list[Row]] = defaultdict(list)
        self._annotations: dict[str, list[Row]] = defaultdict(list)

    def names(self) -> list[str]:
        if not self._by_scene:
            self._index()
        return sorted(self._by_scene)

    def _index(self) -> None:
        versions = [path.parent for path in entries(self.root, "v1.0-*/sample_data.json")]
        if not versions:
            raise self.wrong_folder("no tables at v1.0-*/sample_data.json")
        for version in versions:
            self._read_version(version)
        for row in self._tables["sample_data"].values():
            if self._channel(row) == CHANNEL:
                self._by_scene[self._scene(row)].append(row)
        for row in self._tables["sample_annotation"].values():
            self._annotations[row["sample_token"]].append(row)
        if not self._by_scene:
            raise self.wrong_folder(f"no {CHANNEL} sweeps in the tables of {', '.join(v.name for v in versions)}")

    def _read_version(self, version: Path) -> None:
        """Add the tables of a version; rows that several versions share have the same token."""
        for name in (*TABLES, *LABEL_TABLES):
            rows = _read_table(version / f"{name}.json", optional=name in LABEL_TABLES)
            self._tables.setdefault(name, {}).update({row["token"]: row for row in rows})

    def _scene(self, row: Row) -> str:
        try:
            return self._tables["scene"][self._tables["sample"][row["sample_token"]]["scene_token"]]["name"]
        except KeyError as error:
            raise IngestError(f"expected the token {error} of sample_data {row['token']} in its table") from None

    def _channel(self, row: Row) -> str | None:
        sensor = self._tables["calibrated_sensor"].get(row["calibrated_sensor_token"], {})
        return self._tables["sensor"].get(sensor.get("sensor_token", ""), {}).get("channel")

    def open(self, name: str) -> Drive:
        self.names()
        rows = sorted(self._by_scene[name], key=lambda row: row["timestamp"])
        present = [row for row in rows if (self.root / row["filename"]).is_file()]
        for row in rows:
            if not (self.root / row["filename"]).is_file():
                self.note(name, row["timestamp"], self.root / row["filename"], "expected this sweep, it is missing")
        if not present:
            raise IngestError(f"expected sweeps of {name} such as {self.root / rows[0]['filename']}, none is there")
        times = np.array([row["timestamp"] for row in present], dtype=np.int64) * 1000
        poses = np.stack([self._pose(name, row) for row in present])
        velocities = self._velocities(rows)

        def read(place: int) -> Sweep:
            row = present[place]
            path, frame = self.root / row["filename"], str(row["timestamp"])
            values = read_floats(path, COLUMNS, frame)
            check_intensity(values[:, :3], values[:, 3] / 255, path, frame)
            # not a number is not near either
            values = values[~(np.abs(values[:, :2]).max(axis=1) < EGO_RETURNS)]
            labelled = row["is_key_frame"] and bool(np.isfinite(poses[place]).all())
            return Sweep(
                points=np.stack([values[:, 1], -values[:, 0], values[:, 2]], axis=1),
                timestamp=int(times[place]),
                intensity=values[:, 3] / 255,
                boxes=self._boxes(row, poses[place], velocities) if labelled else None,
                frame=frame,
                vehicle_lidar=self._vehicle_lidar(row),
            )

        return self.drive(name, Recording([self.root / row["filename"] for row in present], times, poses), read)

    def _pose(self, name: str, row: Row) -> np.ndarray:
        """(4, 4) our frame -> global; NaN where the tables have none."""
        ego = self._tables["ego_pose"].get(row["ego_pose_token"])
        pose = np.full((4, 4), np.nan) if ego is None else _rigid(ego) @ self._vehicle_lidar(row)
        if reason := check_pose(pose):
            self.note(name, row["timestamp"], "ego_pose.json", f"{reason}: the sweep has no pose")
            return np.full((4, 4), np.nan)
        return pose

    def _vehicle_lidar(self, row: Row) -> np.ndarray:
        """(4, 4) our frame -> ego frame, above the rear axle."""
        return _rigid(self._tables["calibrated_sensor"][row["calibrated_sensor_token"]]) @ SENSOR_FROM_OURS

    def _velocities(self, rows: list[Row]) -> dict[str, np.ndarray]:
        """(3,) in the world, of the annotations of a scene with these sweeps, by their tokens."""
        samples = dict.fromkeys(row["sample_token"] for row in rows)
        found = [annotation for token in samples for annotation in self._annotations.get(token, [])]
        stamps = {token: self._tables["sample"][token]["timestamp"] * 1000 for token in samples}
        times = np.array([stamps[annotation["sample_token"]] for annotation in found], dtype=np.int64)
        centres = np.array([annotation["translation"] for annotation in found], dtype=np.float64).reshape(-1, 3)
        velocities = track_velocities([annotation["instance_token"] for annotation in found], times, centres)
        return {annotation["token"]: velocity for annotation, velocity in zip(found, velocities, strict=True)}

    def _boxes(self, row: Row, pose: np.ndarray, velocities: dict[str, np.ndarray]) -> Boxes | None:
        if not self._tables["sample_annotation"]:
            return None
        found = self._annotations.get(row["sample_token"], [])
        boxes, names, tracks = np.zeros((len(found), 7)), [], []
        lidar_world = invert_pose(pose)
        for box, annotation in zip(boxes, found, strict=True):
            inside = lidar_world @ _rigid(annotation)
            width, length, height = annotation["size"]
            box[:] = (*inside[:3, 3], length, width, height, np.arctan2(inside[1, 0], inside[0, 0]))
            try:
                instance = self._tables["instance"][annotation["instance_token"]]
                names.append(self._tables["category"][instance["category_token"]]["name"])
            except KeyError as error:
                reason = f"expected the token {error} of annotation {annotation['token']} in its table"
                raise SweepError("sample_annotation.json", str(row["timestamp"]), reason) from None
            tracks.append(annotation["instance_token"])
        points = np.array([annotation["num_lidar_pts"] for annotation in found], dtype=np.int64)
        world = np.array([velocities[annotation["token"]] for annotation in found]).reshape(-1, 3)
        return Boxes(boxes, tuple(names), tuple(tracks), points, in_axes(world, pose))


def _rigid(row: Row) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = quaternion_to_rotmat(*np.array(row["rotation"], dtype=np.float64))
    matrix[:3, 3] = row["translation"]
    return matrix


def _read_table(path: Path, optional: bool) -> list[Row]:
    if not path.is_file():
        if optional:
            return []
        raise IngestError(f"expected a table at {path}, it is missing")
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise IngestError(f"expected a whole JSON table at {path}: {error}") from error
