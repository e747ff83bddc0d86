"""Any folder of point clouds with a file of poses: for own recordings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equissl.datasets.drives.clock import NO_TIME, read_times, times_of_names
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.point_files import check_intensity, intensity_of, read_points
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import by_frame
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.datasets.drives.text_files import read_text
from equissl.datasets.drives.trajectory import Trajectory, numbers_of, poses_at, read_trajectory
from equissl.util.listing import entries, subfolders

SUFFIXES = (".bin", ".npy", ".ply", ".pcd")
POINT_FOLDERS = ("", "velodyne", "lidar", "points", "sweeps", "velodyne_points", "velodyne_points/data")
TIME_FILES = ("times.txt", "timestamps.txt", "velodyne_points/timestamps.txt")
PERIOD = 100_000_000  # nanoseconds between sweeps where nothing says when they were taken
COLUMN_FILE = "columns.txt"


class Folder(Reader):
    """Reader of own recordings: x forward, y left, z up, metres; times from a file or the names, else every 0.1 s.

    Poses take the sweep's frame to the world. Rows of 12 (3x4) or 16 numbers are in the order of the file names where
    there are as many as sweeps, else row k is that of the sweep named k. Rows of 13 begin with the sweep's number. Rows
    ``time x y z qx qy qz qw`` (TUM) are interpolated at the sweeps' times; where these are not known, there must be as
    many as sweeps. Where none of this tells which row belongs to which sweep, none is used.

    Raw files have 4 columns (x y z intensity) unless ``columns.txt`` holds another number. Intensity is divided by 1,
    255 or 65535, the same for a whole drive: the first that some of its sweeps do not exceed.
    """

    format = "folder"
    tree = """
<drive>/                         (any number; or ROOT itself is one)
  *.bin, *.npy, *.ply or *.pcd   one file a sweep, in the order of their names
                                 (or in a folder velodyne/, lidar/, points/, sweeps/ or velodyne_points/data/ in it)
  poses.txt                      12 numbers a sweep, or time x y z qx qy qz qw; optional
  times.txt, timestamps.txt      s, ms, µs or ns, or dates; optional
  columns.txt                    number of float32 columns of .bin files (nuScenes' .pcd.bin: 5); optional, 4"""
    rate = None

    def names(self) -> list[str]:
        inside = {path.partition("/")[0] for path in POINT_FOLDERS}
        folders = [path for path in subfolders(self.root) if path.name not in inside and _sweep_files(path)]
        if _sweep_files(self.root):
            folders.append(self.root)
        if not folders:
            raise self.wrong_folder(f"no {', '.join(SUFFIXES)} files in it or in its folders")
        return sorted(path.resolve().name for path in folders)

    def open(self, name: str) -> Drive:
        folder = self.root / name if _sweep_files(self.root / name) else self.root
        files = _sweep_files(folder)
        if len(kinds := {path.suffix.lower() for path in files}) > 1:
            raise IngestError(f"expected sweeps of one kind in {folder}, found {', '.join(sorted(kinds))}")
        columns = _raw_columns(folder)
        scale = _intensity_scale(files, columns)
        poses, times = self._poses_and_times(name, folder, files)
        return self.drive(name, Recording(files, times, poses), lambda place: _read(files[place], columns, scale))

    def _poses_and_times(self, name: str, folder: Path, files: list[Path]) -> tuple[np.ndarray | None, np.ndarray]:
        names = [path.stem for path in files]
        times = self._times(name, folder, files)
        path = folder / "poses.txt"
        if not path.is_file():
            self.note(name, "", path, "expected poses, the file is missing: sweeps have no poses")
            return None, _regular(files) if times is None else times
        found = read_trajectory(path, len(files))
        if found.times is not None and found.unit != "s":
            self.note(name, "", path, f"times are taken as {found.unit} by their magnitude")
        poses, reasons = _assign(found, names, times)
        self.without_poses(name, path, reasons, files)
        if times is None:
            in_order = found.times is not None and len(found) == len(files)
            times = found.times if in_order else _regular(files)
        return poses, times  # type: ignore[return-value]

    def _times(self, name: str, folder: Path, files: list[Path]) -> np.ndarray | None:
        """Times of the sweeps from a file, else from their names; None where neither tells."""
        path = next((folder / file for file in TIME_FILES if (folder / file).is_file()), None)
        if path is None:
            named = times_of_names([file.stem for file in files])
            if named is not None:
                self.note(name, "", folder, f"the names of the files are taken as times in {named.unit}")
            return None if named is None else named.nanoseconds
        times = read_times(path, len(files))
        if times.said:
            self.note(name, "", path, times.said)
        numbers = numbers_of([file.stem for file in files])
        if len(times) == len(files):
            rows: Sequence[int] = range(len(files))
        elif numbers is not None and min(numbers) == 0:
            rows = numbers
        else:
            raise IngestError(f"expected a time for each of {len(files)} sweeps in {path}, found {len(times)}")
        found = np.full(len(files), NO_TIME, dtype=np.int64)
        for place, row in enumerate(rows):
            if row < len(times) and row not in times.problems:
                found[place] = times.nanoseconds[row]
            else:
                reason = times.problems.get(row, f"expected a time for each of {len(files)} sweeps, found {len(times)}")
                self.note(name, files[place].stem, path, f"{reason}: left out")
        return found


def _regular(files: list[Path]) -> np.ndarray:
    return np.arange(len(files), dtype=np.int64) * PERIOD


def _assign(found: Trajectory, names: list[str], times: np.ndarray | None) -> tuple[np.ndarray, dict[int, str]]:
    """Poses (T, 4, 4) of sweeps, NaN where unknown, and why, by place: by time, by order, or by number."""
    numbers = numbers_of(names)
    if found.times is not None and times is not None:
        poses = poses_at(found, times)
        missing = np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2))).tolist()
        return poses, dict.fromkeys(missing, "expected poses of the times before and after that of the sweep")
    if found.frames is None and len(found) == len(names):
        return by_frame(found.poses, found.problems, range(len(names)))
    if numbers is not None and found.times is None and (found.frames is not None or min(numbers) == 0):
        return by_frame(found.poses, found.problems, found.rows_of(numbers))
    reason = f"expected a row for each of {len(names)} sweeps, found {len(found)}; which is whose is not known"
    return np.full((len(names), 4, 4), np.nan), dict.fromkeys(range(len(names)), reason)


def _read(path: Path, columns: int, scale: float) -> Sweep:
    frame = path.stem
    try:
        found = read_points(path, frame, columns)
        points = np.stack([found[axis].astype(np.float32) for axis in "xyz"], axis=1)
        intensity = intensity_of(found)
        if intensity is not None:
            intensity = intensity / np.float32(scale)
            check_intensity(points, intensity, path, frame)
    except SweepError as error:
        if path.suffix.lower() != ".bin":
            raise
        said = f"{error.reason} ({COLUMN_FILE} in the drive's folder says the number of columns; {columns} were read)"
        raise SweepError(path, frame, said) from error
    return Sweep(points, 0, intensity=intensity, frame=frame)


def _sweep_files(folder: Path) -> list[Path]:
    """Sweeps in the order of the numbers in their names."""
    for inside in POINT_FOLDERS:
        place = folder / inside
        found = [p for p in entries(place) if p.suffix.lower() in SUFFIXES and p.is_file()]
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
    text = read_text(path).strip()
    if not text.isdigit() or not 3 <= int(text) <= 32:
        raise IngestError(f"expected a number of columns from 3 to 32 in {path}, found {text!r}")
    return int(text)


def _intensity_scale(files: list[Path], columns: int) -> float:
    """1, 255 or 65535, by the largest value of three sweeps of the drive."""
    highest = 0.0
    for index in sorted({0, len(files) // 2, len(files) - 1}):
        try:
            values = intensity_of(read_points(files[index], files[index].stem, columns))
        except SweepError:
            continue  # told when the sweep is read
        if values is not None and len(values):
            highest = max(highest, float(np.nanmax(values, initial=0.0)))
    return next((scale for scale in (1.0, 255.0) if highest <= scale * 1.001), 65535.0)
