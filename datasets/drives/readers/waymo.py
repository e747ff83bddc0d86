"""Waymo Open perception data set v2 (Sun et al., CVPR 2020): Parquet components with range images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.drives.arrow_files import import_arrow, pick_columns
from equissl.datasets.drives.box_velocities import with_velocities
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.range_image import RangeSensor, image_to_points, pixel_poses_to_rigid
from equissl.datasets.drives.readers.base import Reader, Recording, pose_or_none
from equissl.datasets.drives.rigid import check_pose
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, invert_pose
from equissl.util.listing import entries

TIME, LASER, TRACK = "key.frame_timestamp_micros", "key.laser_name", "key.laser_object_id"
IMAGE = "[LiDARComponent].range_image_return1"
PIXEL_POSE = "[LiDARPoseComponent].range_image_return1"
POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
CALIBRATION = "[LiDARCalibrationComponent]"
BOX = "[LiDARBoxComponent]"
TOP = 1
PARTS = ("lidar_calibration", "lidar_pose", "vehicle_pose", "lidar_box")
TYPES = {1: "vehicle", 2: "pedestrian", 3: "sign", 4: "cyclist"}
BOX_COLUMNS = (
    *(f"{BOX}.box.center.{axis}" for axis in "xyz"),
    *(f"{BOX}.box.size.{axis}" for axis in "xyz"),
    f"{BOX}.box.heading",
)


class Waymo(Reader):
    """Reader of Waymo: first returns of all LiDARs in the vehicle's reference frame, the top one's compensated.

    Sequences are segments; their split is an attribute. Intensity is squashed by tanh, as it has no upper bound.
    """

    format = "waymo"
    tree = """
training/                    (or validation, testing; or such a folder itself)
  lidar/<segment>.parquet
  lidar_calibration/<segment>.parquet
  lidar_pose/<segment>.parquet
  vehicle_pose/<segment>.parquet
  lidar_box/<segment>.parquet   optional"""

    def names(self) -> list[str]:
        import_arrow()  # before the folder is blamed
        found = sorted(path.stem for path in self._segments())
        if not found:
            raise self.wrong_folder("no segments at <split>/lidar/*.parquet")
        return found

    def _segments(self) -> list[Path]:
        return [*entries(self.root, "lidar/*.parquet"), *entries(self.root, "*/lidar/*.parquet")]

    def open(self, name: str) -> Drive:
        lidar = next(path for path in self._segments() if path.stem == name)
        split = lidar.parent.parent
        files = {
            part: split / part / lidar.name for part in ("lidar_calibration", "lidar_pose", "vehicle_pose", "lidar_box")
        }
        images, pixel_poses = _Component(lidar), _Component(files["lidar_pose"])
        sensors = _read_sensors(files["lidar_calibration"])
        micros = np.array(sorted(images.groups), dtype=np.int64)
        poses = self._poses(name, files["vehicle_pose"], micros)
        placed = dict(zip((micros * 1000).tolist(), poses, strict=True))
        boxes = with_velocities(_read_boxes(files["lidar_box"]), placed) if files["lidar_box"].is_file() else None

        def read(place: int) -> Sweep:
            time, pose = int(micros[place]), pose_or_none(poses, place)
            if pose is None:
                raise SweepError(files["vehicle_pose"], str(time), "expected a pose: the top LiDAR's points need it")
            points, intensity = _read_returns(images, pixel_poses, sensors, time, pose)
            labels = None if boxes is None else boxes.get(time * 1000, Boxes.empty())
            scaled, frame = np.tanh(intensity), str(time)
            return Sweep(points, time * 1000, intensity=scaled, boxes=labels, frame=frame, vehicle_lidar=np.eye(4))

        return self.drive(name, Recording([lidar] * len(micros), micros * 1000, poses, {"split": split.name}), read)

    def _poses(self, name: str, path: Path, micros: np.ndarray) -> np.ndarray:
        table = _read_parquet(path, (TIME, POSE))
        known = {int(t): np.array(p, np.float64).reshape(4, 4) for t, p in zip(table[TIME], table[POSE], strict=True)}
        poses = np.full((len(micros), 4, 4), np.nan)
        for index, time in enumerate(micros.tolist()):
            reason = check_pose(known[time]) if time in known else "expected a pose of this time"
            if reason:
                self.note(name, time, path, f"{reason}: the sweep has no pose")
            else:
                poses[index] = known[time]
        return poses


class _Component:
    """Rows of a large table, found by time without reading all of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, _open(path)
        self.groups: dict[int, list[int]] = {}
        for group in range(self.file.num_row_groups):
            for time in sorted(set(self.file.read_row_group(group, [TIME])[TIME].to_pylist())):
                self.groups.setdefault(time, []).append(group)
        self._cached: tuple[int, Any] = (-1, None)

    def rows(self, time: int, prefix: str) -> dict[int, np.ndarray]:
        """Range images (H, W, C) of one time, by laser."""
        found = {}
        for group in self.groups.get(time, []):
            table = self._group(group, prefix)
            for row in np.flatnonzero(table[TIME].to_numpy() == time).tolist():
                values = np.asarray(table[f"{prefix}.values"][row].values)
                shape = table[f"{prefix}.shape"][row].as_py()
                if len(values) != np.prod(shape):
                    raise SweepError(self.path, str(time), f"expected {shape} numbers in an image, found {len(values)}")
                found[int(table[LASER][row].as_py())] = values.reshape(shape)
        return found

    def _group(self, group: int, prefix: str) -> Any:
        if self._cached[0] != group:
            names = [TIME, LASER, f"{prefix}.values", f"{prefix}.shape"]
            pick_columns(self.file.schema_arrow.empty_table(), tuple(names), self.path)
            self._cached = group, self.file.read_row_group(group, names)
        return self._cached[1]


def _open(path: Path) -> Any:
    pyarrow = import_arrow()
    from pyarrow import parquet

    if not path.is_file():
        raise IngestError(f"expected a component at {path}, it is missing")
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise IngestError(f"expected a whole Parquet file at {path}: {error}") from error


def _read_parquet(path: Path, columns: tuple[str, ...]) -> dict[str, list]:
    file = _open(path)
    pick_columns(file.schema_arrow.empty_table(), columns, path)
    table = file.read([*columns])
    return {name: table[name].to_pylist() for name in columns}


def _read_sensors(path: Path) -> dict[int, RangeSensor]:
    beam = f"{CALIBRATION}.beam_inclination"
    names = (LASER, f"{CALIBRATION}.extrinsic.transform", f"{beam}.min", f"{beam}.max", f"{beam}.values")
    table = _read_parquet(path, names)
    return {
        int(laser): RangeSensor(np.array(extrinsic, dtype=np.float64).reshape(4, 4), low, high, values)
        for laser, extrinsic, low, high, values in zip(*(table[name] for name in names), strict=True)
    }


def _read_returns(
    images: _Component, pixel_poses: _Component, sensors: dict[int, RangeSensor], time: int, pose: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in the vehicle's frame and raw intensity (N,) of all LiDARs."""
    points, intensities = [], []
    for laser, image in sorted(images.rows(time, IMAGE).items()):
        if laser not in sensors:
            raise SweepError(images.path, str(time), f"expected a calibration of laser {laser}, found {[*sensors]}")
        try:
            cloud, kept = image_to_points(image[..., 0], sensors[laser])
        except ValueError as error:
            raise SweepError(images.path, str(time), f"laser {laser}: {error}") from error
        if laser == TOP:
            measured = pixel_poses.rows(time, PIXEL_POSE).get(TOP)
            if measured is None or measured.shape[:2] != image.shape[:2]:
                raise SweepError(pixel_poses.path, str(time), f"expected a pose for each of {image.shape[:2]} pixels")
            to_vehicle = invert_pose(pose) @ pixel_poses_to_rigid(measured[kept])
            cloud = np.einsum("nij,nj->ni", to_vehicle[:, :3, :3], cloud) + to_vehicle[:, :3, 3]
        points.append(cloud.astype(np.float32))
        intensities.append(image[..., 1][kept].astype(np.float32))
    if not points:
        raise SweepError(images.path, str(time), "expected range images, found none")
    return np.concatenate(points), np.concatenate(intensities)


def _read_boxes(path: Path) -> dict[int, Boxes]:
    """Read boxes by time in nanoseconds."""
    names = (TIME, TRACK, f"{BOX}.type", f"{BOX}.num_lidar_points_in_box", *BOX_COLUMNS)
    table = _read_parquet(path, names)
    times = np.array(table[TIME], dtype=np.int64)
    values = np.array([table[name] for name in BOX_COLUMNS], dtype=np.float64).T
    found = {}
    for time in np.unique(times).tolist():
        rows = np.flatnonzero(times == time)
        classes = tuple(TYPES.get(table[f"{BOX}.type"][row], "unknown") for row in rows)
        points = np.array([table[f"{BOX}.num_lidar_points_in_box"][row] or 0 for row in rows], dtype=np.int64)
        found[time * 1000] = Boxes(values[rows], classes, tuple(table[TRACK][row] for row in rows), points)
    return found
