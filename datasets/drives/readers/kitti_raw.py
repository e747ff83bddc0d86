"""KITTI raw data (Geiger et al., IJRR 2013): synchronised drives, one GPS/IMU file a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.kitti.files import (
    in_lidar_frame,
    matrix_from,
    oxts_poses,
    read_calibration,
    read_velodyne,
)
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import Beside, numbered_files
from equissl.datasets.drives.rigid import rigid_rows
from equissl.datasets.drives.sweep import Drive, invert_pose
from equissl.datasets.drives.text_files import read_number_lines
from equissl.util.listing import entries, holds


class KittiRaw(Reader):
    """Reader of KITTI raw. Sweeps are found by the number in their name: some drives lack single ones."""

    format = "kitti-raw"
    tree = """
2011_09_26/                              (any dates; or one such folder itself)
  calib_imu_to_velo.txt
  2011_09_26_drive_0005_sync/
    velodyne_points/data/0000000000.bin  float32 x y z reflectance
    velodyne_points/timestamps.txt
    oxts/data/0000000000.txt             poses"""
    skewed = True

    def names(self) -> list[str]:
        found = sorted(path.name for path in self._drives())
        if not found:
            raise self.wrong_folder("no sweeps at DATE/DATE_drive_NNNN_sync/velodyne_points/data/*.bin")
        return found

    def _drives(self) -> list[Path]:
        folders = [*entries(self.root, "*_drive_*"), *entries(self.root, "*/*_drive_*")]
        return [path for path in folders if holds(path / "velodyne_points" / "data", "*.bin")]

    def open(self, name: str) -> Drive:
        drive = next(path for path in self._drives() if path.name == name)
        numbered = numbered_files(drive / "velodyne_points" / "data", ".bin")
        sweeps, path = [*numbered.values()], drive / "velodyne_points" / "timestamps.txt"
        if not path.is_file():
            raise IngestError(f"expected the times of the sweeps at {path}, it is missing")
        times, attributes = self.frame_times(name, path, numbered), {"date": drive.parent.name}
        recording = Recording(sweeps, times, self._poses(name, drive, sweeps), attributes)
        return self.drive(name, recording, lambda place: read_velodyne(sweeps[place]))

    def _poses(self, name: str, drive: Path, sweeps: Sequence[Path]) -> np.ndarray | None:
        files = Beside(drive / "oxts" / "data")
        if not files.folder.is_dir():
            self.note(name, "", files.folder, "expected GPS/IMU files for the poses, the folder is missing: no poses")
            return None
        rows = np.full((len(sweeps), 6), np.nan)
        for index, sweep in enumerate(sweeps):
            path = files.of(sweep)
            values, problems = read_number_lines(path, 6, 1) if path.is_file() else (rows[:0], {})
            if len(values) and not problems:
                rows[index] = values[0]
            else:
                reason = problems.get(0, "expected a line of numbers" if path.is_file() else "expected this file")
                self.note(name, sweep.stem, path, f"{reason}: the sweep has no pose")
        return in_lidar_frame(oxts_poses(rows), invert_pose(_lidar_from_imu(drive)))


def _lidar_from_imu(drive: Path) -> np.ndarray:
    """(4, 4) of the date's ``calib_imu_to_velo.txt``, which some mirrors keep beside the drive's data."""
    path = next(
        (d / "calib_imu_to_velo.txt" for d in (drive, drive.parent) if (d / "calib_imu_to_velo.txt").is_file()), None
    )
    if path is None:
        raise IngestError(f"expected a calibration at {drive.parent / 'calib_imu_to_velo.txt'}, it is missing")
    calibration = read_calibration(path)
    rotation = matrix_from(calibration, path, 9, "R")
    shift = calibration.get("T", np.zeros(0))
    if shift.shape != (3,) or not np.isfinite(shift).all():
        raise IngestError(f"expected 3 finite numbers for T in {path}, found {len(shift)}")
    return rigid_rows(np.concatenate([rotation[:3, :3], shift[:, None]], axis=1).reshape(12))
