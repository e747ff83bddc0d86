"""KITTI-360 (Liao et al., PAMI 2022): suburban drives with sparse poses and fused annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.kitti.boxes360 import WorldBox, boxes_at, read_world_boxes
from equissl.datasets.drives.kitti.files import (
    NO_TIME,
    matrix_from,
    read_calibration,
    read_number_lines,
    read_times,
    read_velodyne,
)
from equissl.datasets.drives.readers.base import (
    Reader,
    check_pose,
    pose_or_none,
    rigid_rows,
    sorted_numbers,
    usual_size,
)
from equissl.datasets.drives.sweep import Drive, Sweep, invert_pose
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
        frames = sorted_numbers(folder / "data", ".bin")
        frames, timestamps = self._times(name, folder / "timestamps.txt", frames)
        poses = self._poses(name, frames)
        usual = usual_size([folder / "data" / f"{frame:010d}.bin" for frame in frames])
        world_boxes = self._boxes(name)

        def read(index: int) -> Sweep:
            frame = f"{frames[index]:010d}"
            points, intensity = read_velodyne(folder / "data" / f"{frame}.bin", frame, usual)
            sweep = Sweep(points, int(timestamps[index]), pose_or_none(poses, index), intensity, frame=frame)
            if world_boxes is not None and sweep.pose is not None:
                sweep.boxes = boxes_at(world_boxes, frames[index], sweep.pose)
            return sweep

        return Drive(name, timestamps, read, self.rate, self.format, {}, poses)

    def _times(self, name: str, path: Path, frames: list[int]) -> tuple[list[int], np.ndarray]:
        if not path.is_file():
            return frames, np.array(frames, dtype=np.int64) * PERIOD
        times = read_times(path)
        kept = [frame for frame in frames if frame < len(times) and times[frame] != NO_TIME]
        for frame in sorted({*frames} - {*kept}):
            self.note(name, f"{frame:010d}", path, f"expected a time on line {frame + 1} of {len(times)}: left out")
        return kept, times[kept] if kept else np.zeros(0, np.int64)

    def _poses(self, name: str, frames: list[int]) -> np.ndarray | None:
        path = self.root / "data_poses" / name / "poses.txt"
        if not path.is_file():
            self.note(name, "", path, "expected poses, the file is missing: sweeps have no poses")
            return None
        body_lidar = self._body_from_lidar()
        rows, problems = read_number_lines(path, 13)
        known = {int(row[0]): (line, rigid_rows(row[1:])) for line, row in enumerate(rows) if np.isfinite(row).all()}
        for line, reason in problems.items():
            self.note(name, "", path, f"{reason} (line {line + 1} is left out)")
        poses = np.full((len(frames), 4, 4), np.nan)
        for index, frame in enumerate(frames):
            if frame not in known:
                continue
            line, pose = known[frame]
            if wrong := check_pose(pose):
                self.note(name, f"{frame:010d}", path, f"line {line + 1}: {wrong}: the sweep has no pose")
            else:
                poses[index] = pose @ body_lidar
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
