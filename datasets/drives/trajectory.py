"""Files of poses: rows of 3x4 or 4x4 matrices, with frame numbers or without, and TUM trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.drives.clock import NO_TIME, to_nanoseconds
from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.rigid import check_pose, quaternion_to_rotmat, rigid_rows
from equissl.datasets.drives.text_files import Rows, read_rows

TUM, MATRIX, NUMBERED, SQUARE = 8, 12, 13, 16  # numbers of a row
GAP = 0.25  # seconds between two poses of a trajectory that one between them is interpolated over


@dataclass(frozen=True)
class Trajectory:
    """Poses of a file.

    Attributes:
        poses: (T, 4, 4) float64, NaN where a row cannot be used.
        problems: why not, by place.
        times: (T,) int64 nanoseconds of a TUM file, else None.
        unit: of these times.
        frames: (T,) int64 numbers of the sweeps, -1 where a row cannot be used; None where the file has none.
    """

    poses: np.ndarray
    problems: dict[int, str]
    times: np.ndarray | None = None
    unit: str = "s"
    frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def rows_of(self, frames: Sequence[int]) -> list[int]:
        """Return the row of each sweep, by the numbers in the file, else row k for sweep k; T where there is none.

        Args:
            frames: numbers of the sweeps.
        """
        if self.frames is None:
            return list(frames)
        rows = {frame: row for row, frame in enumerate(self.frames.tolist())}
        return [rows.get(frame, len(self)) for frame in frames]


def read_trajectory(path: Path, expected: int | None = None) -> Trajectory:
    """Read poses; the number of columns tells the form.

    12 numbers (rows of 3x4) or 16 (of 4x4); 13 with the sweep's number in front, as KITTI-360 has them; 8 are
    ``time x y z qx qy qz qw``, or qw first where a heading says so.

    Args:
        path: path of the file.
        expected: number of rows, where it is known.

    Raises:
        IngestError: for rows of another number of columns.
    """
    rows = read_rows(path, MATRIX, expected)
    widths = [len(words) for words in read_rows(path, 1, expected).words if words]
    width = max(set(widths), key=widths.count, default=MATRIX)
    if width == TUM:
        return _tum(read_rows(path, TUM, expected))
    if width not in (MATRIX, NUMBERED, SQUARE):
        raise IngestError(f"expected rows of 12, 13 or 16 numbers, or the 8 of a TUM file, in {path}, found {width}")
    if width != NUMBERED:
        return _checked(rows, rigid_rows(rows.numbers(MATRIX)))
    rows = read_rows(path, NUMBERED, expected)
    numbers = rows.numbers(NUMBERED)
    frames = np.nan_to_num(numbers[:, 0], nan=-1).astype(np.int64)
    return _checked(rows, rigid_rows(numbers[:, 1:]), frames=frames)


def _tum(rows: Rows) -> Trajectory:
    numbers = rows.numbers(TUM)
    heading = rows.header.lower()
    scalar_first = 0 <= heading.find("qw") < heading.find("qx")
    x, y, z, w = numbers[:, [5, 6, 7, 4] if scalar_first else [4, 5, 6, 7]].T
    with np.errstate(invalid="ignore"):  # a quaternion of zeros
        rotation = quaternion_to_rotmat(w, x, y, z)
    matrices = rigid_rows(np.concatenate([rotation, numbers[:, 1:4, None]], axis=2).reshape(-1, MATRIX))
    times, unit = to_nanoseconds([words[0] if words else None for words in rows.words])
    return _checked(rows, matrices, times, unit)


def _checked(
    rows: Rows,
    poses: np.ndarray,
    times: np.ndarray | None = None,
    unit: str = "s",
    frames: np.ndarray | None = None,
) -> Trajectory:
    problems = dict(rows.problems)
    for place in range(len(rows)):
        if place not in problems and (reason := check_pose(poses[place])):
            problems[place] = f"line {rows.lines[place]}: {reason}"
        if place in problems:
            poses[place] = np.nan
    return Trajectory(poses, problems, times, unit, frames)


def poses_at(trajectory: Trajectory, times: np.ndarray) -> np.ndarray:
    """Interpolate poses (T, 4, 4) at the times of sweeps; NaN where no two less than 0.25 s apart enclose the time.

    Args:
        trajectory: with times.
        times: (T,) int64 nanoseconds.
    """
    from scipy.spatial.transform import Rotation, Slerp

    found = np.full((len(times), 4, 4), np.nan)
    assert trajectory.times is not None
    known = np.flatnonzero(np.isfinite(trajectory.poses).all(axis=(1, 2)) & (trajectory.times != NO_TIME))
    stamps, chosen = np.unique(trajectory.times[known], return_index=True)
    poses = trajectory.poses[known[chosen]]
    for place, time in enumerate(times.tolist()):
        after = int(np.searchsorted(stamps, time))
        if after < len(stamps) and stamps[after] == time:
            found[place] = poses[after]
        elif 0 < after < len(stamps) and stamps[after] - stamps[after - 1] < GAP * 1e9:
            pair = slice(after - 1, after + 1)
            share = (time - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
            found[place] = np.eye(4)
            found[place, :3, :3] = Slerp([0, 1], Rotation.from_matrix(poses[pair, :3, :3]))(share).as_matrix()
            found[place, :3, 3] = (1 - share) * poses[after - 1, :3, 3] + share * poses[after, :3, 3]
    return found


def number_of(name: str) -> int | None:
    """Return the last number in the name of a file, None without one."""
    import re

    digits = re.findall(r"[0-9]+", name)
    return int(digits[-1]) if digits else None


def numbers_of(names: Sequence[str]) -> list[int] | None:
    """Return the numbers in the names of sweeps; None where one has none, or two have the same."""
    numbers = [number for name in names if (number := number_of(name)) is not None]
    return numbers if len(set(numbers)) == len(names) else None
