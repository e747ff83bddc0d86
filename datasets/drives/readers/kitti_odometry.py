"""KITTI odometry (Geiger et al., CVPR 2012): long drives with ground-truth poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.kitti.files import (
    in_lidar_frame,
    matrix_from,
    read_calibration,
    read_number_lines,
    read_pose_lines,
    read_velodyne,
)
from equissl.datasets.drives.point_files import read_file
from equissl.datasets.drives.readers.base import Reader, pose_or_none, sorted_numbers, usual_size
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.util.listing import holds, subfolders

PERIOD = 100_000_000  # nanoseconds
SEMANTIC_MASK = 0xFFFF  # the upper half of a label is the instance


class KittiOdometry(Reader):
    """Reader of KITTI odometry: sweeps motion compensated already, poses moved from the left camera to the LiDAR.

    The poses of ``poses/`` come before those of ``sequences/NN/poses.txt``; semantic labels are read where they are.
    """

    format = "kitti-odometry"
    tree = """
sequences/00/              (below ROOT or ROOT/dataset)
  velodyne/000000.bin      float32 x y z reflectance
  calib.txt                with Tr, LiDAR to camera 0
  times.txt                seconds; optional
  poses.txt                optional, where there is no poses/00.txt
  labels/000000.label      optional
poses/00.txt               12 numbers a line; sequences 00 to 10"""

    def names(self) -> list[str]:
        folder = self._base / "sequences"
        found = [path.name for path in subfolders(folder) if holds(path / "velodyne", "*.bin")]
        if not found:
            raise self.wrong_folder("no sweeps at sequences/NN/velodyne/*.bin")
        return found

    @property
    def _base(self) -> Path:
        return self.root / "dataset" if (self.root / "dataset" / "sequences").is_dir() else self.root

    def _pose_files(self, name: str) -> list[Path]:
        return [self._base / "poses" / f"{name}.txt", self._base / "sequences" / name / "poses.txt"]

    def open(self, name: str) -> Drive:
        folder = self._base / "sequences" / name
        frames = sorted_numbers(folder / "velodyne", ".bin")
        frames, timestamps = self._times(name, folder / "times.txt", frames)
        poses = self._poses(name, folder / "calib.txt", frames)
        usual = usual_size([folder / "velodyne" / f"{frame:06d}.bin" for frame in frames])
        labelled = (folder / "labels").is_dir()

        def read(index: int) -> Sweep:
            frame = f"{frames[index]:06d}"
            points, intensity = read_velodyne(folder / "velodyne" / f"{frame}.bin", frame, usual)
            return Sweep(
                points=points,
                intensity=intensity,
                timestamp=int(timestamps[index]),
                pose=pose_or_none(poses, index),
                semantic=_read_labels(folder / "labels" / f"{frame}.label", frame, len(points)) if labelled else None,
                frame=frame,
            )

        return Drive(name, timestamps, read, self.rate, self.format, {}, poses)

    def _times(self, name: str, path: Path, frames: list[int]) -> tuple[list[int], np.ndarray]:
        """Frames with a time, increasing; every 0.1 s where there is no file of times."""
        if not path.is_file():
            return frames, np.array(frames, dtype=np.int64) * PERIOD
        rows, problems = read_number_lines(path, 1)
        kept: list[int] = []
        times: list[float] = []
        for frame in frames:
            time = rows[frame, 0] if frame < len(rows) else np.nan
            if np.isnan(time) or (times and time <= times[-1]):
                reason = problems.get(frame, f"expected a later time than before on line {frame + 1} of {len(rows)}")
                self.note(name, f"{frame:06d}", path, f"{reason}: left out")
                continue
            kept.append(frame)
            times.append(time)
        return kept, np.round(np.array(times) * 1e9).astype(np.int64)

    def _poses(self, name: str, calibration: Path, frames: list[int]) -> np.ndarray | None:
        path = next((file for file in self._pose_files(name) if file.is_file()), None)
        if path is None:
            self.note(name, "", self._pose_files(name)[0], "expected poses, the file is missing: sweeps have no poses")
            return None
        values = read_calibration(calibration)
        poses, problems = read_pose_lines(path)
        poses = in_lidar_frame(poses, matrix_from(values, calibration, 12, "Tr", "Tr_velo_to_cam"))
        chosen = np.full((len(frames), 4, 4), np.nan)
        for index, frame in enumerate(frames):
            if frame < len(poses) and frame not in problems:
                chosen[index] = poses[frame]
            else:
                reason = problems.get(frame, f"expected a line for this frame, the file has {len(poses)}")
                self.note(name, f"{frame:06d}", path, f"{reason}: the sweep has no pose")
        return chosen


def _read_labels(path: Path, frame: str, count: int) -> np.ndarray:
    data = read_file(path, frame)
    if len(data) != 4 * count:
        raise SweepError(
            path, frame, f"expected {4 * count} bytes, a uint32 label for each of {count} points, found {len(data)}"
        )
    return (np.frombuffer(data, "<u4") & SEMANTIC_MASK).astype(np.int32)
