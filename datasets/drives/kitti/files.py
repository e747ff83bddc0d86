"""Text files that the KITTI benchmarks share: calibrations, labels, GPS/IMU, poses and times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.point_files import check_intensity, drop_no_returns, read_floats
from equissl.datasets.drives.rigid import rigid_rows
from equissl.datasets.drives.sweep import Boxes, Sweep, invert_pose
from equissl.datasets.drives.text_files import read_lines

EARTH = 6378137.0  # metres
UNLABELLED = "DontCare"


@dataclass(frozen=True)
class Label:
    """One line of a label file; box in the rectified camera frame (x right, y down, z ahead)."""

    frame: int
    track: str
    name: str
    size: tuple[float, float, float]  # h, w, l
    bottom: tuple[float, float, float]
    rotation_y: float
    truncated: float = 0.0
    occluded: float = 0.0
    alpha: float = -10.0  # KITTI's way to say unknown
    image_box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # left, top, right, bottom in pixels
    score: float | None = None  # of results


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    """Read lines ``NAME: numbers``; those that are not numbers (dates) are left out.

    Raises:
        IngestError: for a missing file.
    """
    if not path.is_file():
        raise IngestError(f"expected a calibration at {path}, it is missing")
    found = {}
    for _, line in read_lines(path):
        # tracking files of some mirrors write "R_rect 1.0 ..." without a colon
        name, _, numbers = line.partition(":") if ":" in line else line.partition(" ")
        try:
            found[name.strip()] = np.array(numbers.split(), dtype=np.float64)
        except ValueError:
            continue
    return found


def matrix_from(calibration: dict[str, np.ndarray], path: Path, count: int, *names: str) -> np.ndarray:
    """Return the (4, 4) matrix of the first of ``names`` that is there with ``count`` numbers (12: rigid, 9: rotation).

    Args:
        calibration: numbers by name.
        path: for the message.
        count: 12 or 9.
        *names: in order of preference.

    Raises:
        IngestError: where it is missing or has another number of numbers.
    """
    name = next((name for name in names if name in calibration), None)
    if name is None:
        raise IngestError(f"expected {names[0]} in {path}, found {', '.join(calibration) or 'nothing'}")
    values = calibration[name]
    if values.shape != (count,) or not np.isfinite(values).all():
        raise IngestError(f"expected {count} finite numbers for {name} in {path}, found {len(values)}")
    if count == 12:
        return rigid_rows(values)
    matrix = np.eye(4)
    matrix[:3, :3] = values.reshape(3, 3)
    return matrix


def read_velodyne(path: Path) -> Sweep:
    """Read a Velodyne file, float32 x, y, z, reflectance, as a sweep without time and pose, named as the file is.

    Raises:
        SweepError: for a file that is missing, cut short, or with other columns.
    """
    values = read_floats(path, 4, path.stem)
    check_intensity(values[:, :3], values[:, 3], path, path.stem)
    return Sweep(values[:, :3].copy(), 0, intensity=values[:, 3].copy(), frame=path.stem)


def in_image(points: np.ndarray, camera_lidar: np.ndarray, projection: np.ndarray, image: Path) -> np.ndarray:
    """Mark the points (N,) that the left colour camera sees.

    Args:
        points: (N, 3) in the LiDAR frame.
        camera_lidar: (4, 4) LiDAR -> rectified camera.
        projection: (4, 4) with ``P2`` in its first rows.
        image: the picture, for its size; 1242 x 375 pixels, the usual one, where it is not there.
    """
    from PIL import Image

    width, height = Image.open(image).size if image.is_file() else (1242, 375)
    pixels = projection @ camera_lidar
    u, v, depth = (points.astype(np.float64) @ pixels[:3, :3].T + pixels[:3, 3]).T
    return (depth > 0) & (u >= 0) & (u < width * depth) & (v >= 0) & (v < height * depth)


def camera_view(sweep: Sweep, calibration: Path, image: Path) -> Sweep:
    """Select the points of a sweep that the left colour camera sees.

    Args:
        sweep: to cut.
        calibration: file.
        image: file, for its size.
    """
    sweep = drop_no_returns(sweep)
    projection = matrix_from(read_calibration(calibration), calibration, 12, "P2")
    return sweep.select(in_image(sweep.points, camera_from_lidar(calibration), projection, image))


def camera_from_lidar(path: Path) -> np.ndarray:
    """Compute (4, 4) LiDAR -> rectified camera of an object or tracking calibration: ``R0_rect Tr_velo_to_cam``."""
    calibration = read_calibration(path)
    rectify = matrix_from(calibration, path, 9, "R0_rect", "R_rect")
    return rectify @ matrix_from(calibration, path, 12, "Tr_velo_to_cam", "Tr_velo_cam")


def parse_labels(path: Path, tracking: bool) -> tuple[list[Label], dict[int, str]]:
    """Parse an object (15 fields, 16 with a score) or tracking (17, 18) label file, ``DontCare`` left out.

    Args:
        path: path of the file.
        tracking: True for the tracking benchmark.

    Returns:
        the labels; and what is wrong with others, by frame (-1 where even that is not readable).
    """
    labels, problems = [], {}
    for number, line in read_lines(path):
        fields = line.split()
        frame = fields[0] if tracking else "0"
        try:
            label = _parse_label(fields, tracking)
        except ValueError as error:
            expected = 17 if tracking else 15
            reason = f"line {number}: expected the {expected} fields of a label: {error}"
            problems[int(frame) if frame.isdigit() else -1] = reason
            continue
        if label.name != UNLABELLED:
            labels.append(label)
    return labels, problems


def _parse_label(fields: list[str], tracking: bool) -> Label:
    frame, track, rest = (int(fields[0]), fields[1], fields[2:]) if tracking and fields[2:] else (0, "", fields)
    if len(rest) not in (15, 16):
        raise ValueError(f"found {len(fields)}")
    values = np.array(rest[1:], dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("found numbers that are not finite")
    truncated, occluded, alpha, left, top, right, bottom = values[:7].tolist()
    h, w, l, x, y, z, rotation_y = values[7:14].tolist()  # noqa: E741
    seen = (truncated, occluded, alpha, (left, top, right, bottom))
    score = float(values[14]) if len(values) > 14 else None
    return Label(frame, track, rest[0], (h, w, l), (x, y, z), rotation_y, *seen, score)


def to_boxes(labels: list[Label], camera_lidar: np.ndarray) -> Boxes:
    """Convert labels to boxes in the LiDAR's reference frame.

    Args:
        labels: in the camera's reference frame, about the bottom's centre.
        camera_lidar: (4, 4) LiDAR -> camera.
    """
    lidar_camera = np.linalg.inv(camera_lidar)
    boxes = np.zeros((len(labels), 7))
    for box, label in zip(boxes, labels, strict=True):
        height, width, length = label.size
        centre = lidar_camera[:3, :3] @ np.array(label.bottom) + lidar_camera[:3, 3] + (0, 0, height / 2)
        heading = -label.rotation_y - np.pi / 2
        box[:] = (*centre, length, width, height, (heading + np.pi) % (2 * np.pi) - np.pi)
    return Boxes(boxes, tuple(label.name for label in labels), tuple(label.track for label in labels))


def read_plane(path: Path, camera_lidar: np.ndarray) -> np.ndarray:
    """Read the road of a frame of the object benchmark: a b c d of a x + b y + c z + d = 0 in the camera's frame.

    Args:
        path: ``planes/000000.txt``: headings, then the four numbers.
        camera_lidar: (4, 4) LiDAR -> rectified camera.

    Returns:
        (4,) the same plane in the LiDAR's frame: normal of length 1, pointing up.

    Raises:
        IngestError: for a file without such a line, or a plane that is no road: steeper than 60 degrees.
    """
    lines = [line for _, line in read_lines(path)]
    found = repr(lines[-1]) if lines else "nothing"
    try:
        values = np.array(lines[-1].split(), dtype=np.float64)
    except (IndexError, ValueError) as error:
        raise IngestError(f"expected the four numbers of a plane on the last line of {path}: {error}") from error
    if values.shape != (4,) or not np.isfinite(values).all():
        raise IngestError(f"expected the four numbers of a plane on the last line of {path}, found {found}")
    # a plane p holds the points x with p · x = 0, and x = camera_lidar y
    plane = values @ camera_lidar
    length = float(np.linalg.norm(plane[:3]))
    if not abs(plane[2]) > 0.5 * length:
        raise IngestError(f"expected a plane like a road's on the last line of {path}, found {found}")
    return plane / np.copysign(length, plane[2])


def oxts_poses(rows: np.ndarray) -> np.ndarray:
    """Read the poses of the GPS/IMU in a local map.

    Mercator projection with the scale of the first row's latitude, as in KITTI's own tools; then relative to the first.

    Args:
        rows: (T, 6 or more) latitude, longitude (degrees), altitude (m), roll, pitch, yaw (rad); NaN rows stay NaN.

    Returns:
        (T, 4, 4) float64, IMU -> first IMU.
    """
    known = np.isfinite(rows[:, :6]).all(axis=1)
    if not known.any():
        return np.full((len(rows), 4, 4), np.nan)
    lat, lon, alt, roll, pitch, yaw = rows[:, :6].T
    scale = np.cos(np.deg2rad(lat[known][0]))
    poses = np.zeros((len(rows), 4, 4))
    poses[:, :3, :3] = _turn(yaw, 2) @ _turn(pitch, 1) @ _turn(roll, 0)
    poses[:, 0, 3] = scale * EARTH * np.deg2rad(lon)
    poses[:, 1, 3] = scale * EARTH * np.log(np.tan(np.deg2rad(90 + lat) / 2))
    poses[:, 2, 3], poses[:, 3, 3] = alt, 1
    poses[~known] = np.nan
    return np.linalg.inv(poses[known][0]) @ poses


def _turn(angle: np.ndarray, axis: int) -> np.ndarray:
    matrix = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def in_lidar_frame(poses: np.ndarray, body_from_lidar: np.ndarray) -> np.ndarray:
    """Convert poses to those of the LiDAR relative to its own first place: ``B⁻¹ P B``.

    Args:
        poses: (T, 4, 4) of the body.
        body_from_lidar: (4, 4) B, LiDAR -> body.
    """
    return invert_pose(body_from_lidar) @ poses @ body_from_lidar
