"""Any folder of point clouds with a file of poses: for own recordings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.kitti.files import read_number_lines, read_pose_lines
from equissl.datasets.drives.point_files import check_points, read_points
from equissl.datasets.drives.readers.base import (
    Reader,
    check_pose,
    check_size,
    pose_or_none,
    quaternion_to_rotmat,
    rigid_rows,
    usual_size,
)
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.util.listing import entries, subfolders

SUFFIXES = (".bin", ".npy", ".ply", ".pcd")
POINT_FOLDERS = ("", "velodyne", "lidar", "points", "sweeps")
PERIOD = 100_000_000  # nanoseconds between sweeps where nothing says when they were taken
COLUMN_FILE = "columns.txt"


class Folder(Reader):
    """Reader of own recordings: x forward, y left, z up, metres; intervals by ``times.txt``, else 0.1 s.

    Poses take the sweep's frame to the world, line by line in the order of the file names: 12 numbers (rows of 3x4),
    or ``time x y z qx qy qz qw`` (the TUM form, which gives the times too). Raw files have 4 columns (x y z intensity)
    unless ``columns.txt`` holds another number. Intensity is divided by 1, 255 or 65535, the same for a whole drive:
    the first that some of its sweeps do not exceed.
    """

    format = "folder"
    tree = """
<drive>/                         (any number; or ROOT itself is one)
  *.bin, *.npy, *.ply or *.pcd   one file a sweep, in the order of their names
                                 (or in a folder velodyne/, lidar/, points/ or sweeps/ in it)
  poses.txt                      12 numbers a sweep, or time x y z qx qy qz qw; optional
  times.txt                      seconds; optional
  columns.txt                    number of float32 columns of .bin files; optional, 4"""
    rate = None

    def names(self) -> list[str]:
        folders = [path for path in subfolders(self.root) if path.name not in POINT_FOLDERS and _sweep_files(path)]
        if _sweep_files(self.root):
            folders.append(self.root)
        if not folders:
            raise self.wrong_folder(f"no {', '.join(SUFFIXES)} files in it or in its folders")
        return sorted(path.resolve().name for path in folders)

    def open(self, name: str) -> Drive:
        folder = self.root / name if _sweep_files(self.root / name) else self.root
        files = _sweep_files(folder)
        if len(kinds := {path.suffix for path in files}) > 1:
            raise IngestError(f"expected sweeps of one kind in {folder}, found {', '.join(sorted(kinds))}")
        poses, timestamps = self._poses_and_times(name, folder, files)
        kept = self._increasing(name, folder, files, timestamps)
        files, timestamps = [files[i] for i in kept], timestamps[kept]
        poses = poses[kept] if poses is not None else None
        columns, usual = _raw_columns(folder), usual_size(files)
        scale = _intensity_scale(files, columns)

        def read(index: int) -> Sweep:
            path, frame = files[index], files[index].stem
            if path.suffix == ".bin":
                check_size(path, frame, usual)
            found = read_points(path, frame, columns)
            points = np.stack([found[axis].astype(np.float32) for axis in "xyz"], axis=1)
            intensity = _intensity(found)
            intensity = None if intensity is None else intensity / np.float32(scale)
            check_points(points, path, frame, intensity)
            return Sweep(points, int(timestamps[index]), pose_or_none(poses, index), intensity, frame=frame)

        return Drive(name, timestamps, read, self.rate, self.format, {}, poses)

    def _poses_and_times(self, name: str, folder: Path, files: list[Path]) -> tuple[np.ndarray | None, np.ndarray]:
        times = np.arange(len(files), dtype=np.int64) * PERIOD
        poses = None
        path = folder / "poses.txt"
        if path.is_file():
            is_tum = len(path.read_text(errors="replace").partition("\n")[0].split()) == 8
            found, problems, found_times = _read_tum(path) if is_tum else (*read_pose_lines(path), None)
            poses = np.full((len(files), 4, 4), np.nan)
            poses[: len(found)] = found[: len(files)]
            for index in range(len(files)):
                if index >= len(found) or index in problems:
                    reason = problems.get(index, f"expected a line for each of {len(files)} sweeps, found {len(found)}")
                    self.note(name, files[index].stem, path, f"{reason}: the sweep has no pose")
            if found_times is not None:
                times = np.full(len(files), -1, np.int64)
                times[: len(found)] = found_times[: len(files)]
        else:
            self.note(name, "", path, "expected poses, the file is missing: sweeps have no poses")
        if (path := folder / "times.txt").is_file():
            rows, _ = read_number_lines(path, 1)
            times = np.full(len(files), -1, np.int64)
            seconds = rows[: len(files), 0]
            times[: len(seconds)] = np.where(np.isfinite(seconds), np.round(np.nan_to_num(seconds) * 1e9), -1)
        return poses, times

    def _increasing(self, name: str, folder: Path, files: list[Path], times: np.ndarray) -> list[int]:
        kept: list[int] = []
        for index, time in enumerate(times.tolist()):
            if time < 0 or (kept and time <= times[kept[-1]]):
                self.note(
                    name, files[index].stem, folder, "expected a later time than that of the sweep before: left out"
                )
            else:
                kept.append(index)
        return kept


def _sweep_files(folder: Path) -> list[Path]:
    """Sweeps in the order of the numbers in their names."""
    for inside in POINT_FOLDERS:
        place = folder / inside
        found = [p for p in entries(place) if p.suffix in SUFFIXES and p.is_file()]
        if found:
            return sorted(found, key=_natural)
    return []


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order in which 9 comes before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.stem) if part]


def _raw_columns(folder: Path) -> int:
    path = folder / COLUMN_FILE
    if not path.is_file():
        return 4
    text = path.read_text().strip()
    if not text.isdigit() or not 3 <= int(text) <= 32:
        raise IngestError(f"expected a number of columns from 3 to 32 in {path}, found {text!r}")
    return int(text)


def _intensity(columns: dict[str, np.ndarray]) -> np.ndarray | None:
    values = next((columns[name] for name in ("intensity", "i", "reflectance") if name in columns), None)
    return None if values is None else values.astype(np.float32)


def _intensity_scale(files: list[Path], columns: int) -> float:
    """1, 255 or 65535, by the largest value of three sweeps of the drive."""
    highest = 0.0
    for index in sorted({0, len(files) // 2, len(files) - 1}):
        try:
            values = _intensity(read_points(files[index], files[index].stem, columns))
        except SweepError:
            continue  # told when the sweep is read
        if values is not None and len(values):
            highest = max(highest, float(np.nanmax(values)))
    return next((scale for scale in (1.0, 255.0) if highest <= scale * 1.001), 65535.0)


def _read_tum(path: Path) -> tuple[np.ndarray, dict[int, str], np.ndarray]:
    rows, problems = read_number_lines(path, 8)
    x, y, z, w = rows[:, 4:].T
    rotation = quaternion_to_rotmat(w, x, y, z)
    poses = rigid_rows(np.concatenate([rotation, rows[:, 1:4, None]], axis=2).reshape(-1, 12))
    for index in range(len(rows)):
        if index not in problems and (reason := check_pose(poses[index])):
            problems[index] = f"line {index + 1}: {reason}"
        if index in problems:
            poses[index] = np.nan
    times = np.where(np.isfinite(rows[:, 0]), np.round(np.nan_to_num(rows[:, 0]) * 1e9), -1).astype(np.int64)
    return poses, problems, times
