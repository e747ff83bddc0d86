"""KITTI-360 (Liao et al., PAMI 2022): suburban drives with sparse poses and fused annotations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.kitti.boxes360 import WorldBox, boxes_at, read_world_boxes
from equissl.datasets.drives.kitti.files import matrix_from, read_calibration, read_velodyne
from equissl.datasets.drives.readers.base import Reader, Recording, pose_or_none
from equissl.datasets.drives.readers.frames import numbered_files
from equissl.datasets.drives.rigid import rigid_rows
from equissl.datasets.drives.sweep import Drive, Sweep, invert_pose
from equissl.datasets.drives.text_files import read_number_lines
from equissl.datasets.drives.trajectory import read_trajectory
from equissl.util.listing import holds, subfolders

PERIOD = 100_000_000


class Kitti360(Reader):
    """Reader of KITTI-360. Sweeps where the car stood still have no pose, and so make no pairs."""

    format = "kitti-360"
    tree = """
calibration/calib_cam_to_pose.txt, calibration/calib_cam_to_velo.txt
data_3d_raw/2013_05_28_drive_0000_sync/velodyne_points/data/0000000000.bin   float32 x y z reflectance
data_3d_raw/2013_05_28_drive_0000_sync/velodyne_points/timestamps.txt        optional
data_poses/2013_05_28_drive_0000_sync/poses.txt                              frame, 12 numbers
data_3d_bboxes/train/2013_05_28_drive_0000_sync.xml                          optional (or train_full)"""
    skewed = True

    def names(self) -> list[str]:
        folder = self.root / "data_3d_raw"
        data = "velodyne_points/data"
        found = [path.name for path in subfolders(folder) if holds(path / data, "*.bin")]
        if not found:
            raise self.wrong_folder(f"no sweeps at data_3d_raw/<drive>/{data}/*.bin")
        return found

    def open(self, name: str) -> Drive:
        folder = self.root / "data_3d_raw" / name / "velodyne_points"
        numbered = numbered_files(folder / "data", ".bin")
        frames, sweeps = [*numbered], [*numbered.values()]
        times = np.array(frames, dtype=np.int64) * PERIOD
        if (path := folder / "timestamps.txt").is_file():
            times = self.frame_times(name, path, numbered)
        poses, world_boxes = self._poses(name, numbered), self._boxes(name)

        def read(place: int) -> Sweep:
            sweep, pose = read_velodyne(sweeps[place]), pose_or_none(poses, place)
            if world_boxes is not None and pose is not None:
                sweep.boxes = boxes_at(world_boxes, frames[place], pose)
            return sweep

        return self.drive(name, Recording(sweeps, times, poses), read)

    def _poses(self, name: str, sweeps: Mapping[int, Path]) -> np.ndarray | None:
        path = self.root / "data_poses" / name / "poses.txt"
        if not path.is_file():
            self.note(name, "", path, "expected poses, the file is missing: sweeps have no poses")
            return None
        body_lidar = self._body_from_lidar()
        found = read_trajectory(path)
        if found.frames is None:
            raise IngestError(f"expected rows of the sweep's number and 12 numbers in {path}, found other columns")
        frames = dict(zip(found.frames.tolist(), range(len(found)), strict=True))
        for row, reason in found.problems.items():
            self.note(name, "", path, f"{reason} (row {row + 1} is left out)")
        poses = np.full((len(sweeps), 4, 4), np.nan)
        for place, frame in enumerate(sweeps):
            if frame in frames:  # sweeps at which the car stood still have none
                poses[place] = found.poses[frames[frame]] @ body_lidar
        return poses

    def _body_from_lidar(self) -> np.ndarray:
        """``cam0_to_pose · inverse(cam0_to_velo)``."""
        to_pose, to_lidar = (self.root / "calibration" / f"calib_cam_to_{end}.txt" for end in ("pose", "velo"))
        body_camera = matrix_from(read_calibration(to_pose), to_pose, 12, "image_00")
        if not to_lidar.is_file():
            raise IngestError(f"expected a calibration at {to_lidar}, it is missing")
        rows, problems = read_number_lines(to_lidar, 12)
        if problems or not len(rows):
            raise IngestError(f"expected 12 numbers in {to_lidar}: {'; '.join(problems.values()) or 'it is empty'}")
        return body_camera @ invert_pose(rigid_rows(rows[0]))

    def _boxes(self, name: str) -> list[WorldBox] | None:
        """Boxes of the full annotation where it is there: they are seen over more sweeps."""
        for folder in ("train_full", "train"):
            path = self.root / "data_3d_bboxes" / folder / f"{name}.xml"
            if path.is_file():
                return read_world_boxes(path)
        return None
