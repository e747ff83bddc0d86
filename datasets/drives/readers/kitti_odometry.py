"""KITTI odometry (Geiger et al., CVPR 2012): long drives with ground-truth poses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.kitti.files import in_lidar_frame, matrix_from, read_calibration, read_velodyne
from equissl.datasets.drives.point_files import read_file
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import Beside, by_frame, numbered_files
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.datasets.drives.trajectory import read_trajectory
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
  times.txt                optional
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
        numbered = numbered_files(folder / "velodyne", ".bin")
        sweeps = [*numbered.values()]
        labels = Beside(folder / "labels", ".label") if (folder / "labels").is_dir() else None

        def read(place: int) -> Sweep:
            sweep = read_velodyne(sweeps[place])
            if labels is not None:
                sweep.semantic = _read_labels(labels.of(sweeps[place]), sweep.frame, len(sweep))
            return sweep

        times = np.array([*numbered], dtype=np.int64) * PERIOD
        if (path := folder / "times.txt").is_file():
            times = self.frame_times(name, path, numbered)
        return self.drive(name, Recording(sweeps, times, self._poses(name, folder / "calib.txt", numbered)), read)

    def _poses(self, name: str, calibration: Path, sweeps: Mapping[int, Path]) -> np.ndarray | None:
        path = next((file for file in self._pose_files(name) if file.is_file()), None)
        if path is None:
            self.note(name, "", self._pose_files(name)[0], "expected poses, the file is missing: sweeps have no poses")
            return None
        camera_lidar = matrix_from(read_calibration(calibration), calibration, 12, "Tr", "Tr_velo_to_cam")
        found = read_trajectory(path, max(sweeps) + 1)
        poses, reasons = by_frame(found.poses, found.problems, found.rows_of([*sweeps]))
        self.without_poses(name, path, reasons, [*sweeps.values()])
        return in_lidar_frame(poses, camera_lidar)


def _read_labels(path: Path, frame: str, count: int) -> np.ndarray:
    data = read_file(path, frame)
    if len(data) != 4 * count:
        raise SweepError(
            path, frame, f"expected {4 * count} bytes, a uint32 label for each of {count} points, found {len(data)}"
        )
    return (np.frombuffer(data, "<u4") & SEMANTIC_MASK).astype(np.int32)
