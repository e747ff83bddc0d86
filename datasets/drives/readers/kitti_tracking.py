"""KITTI tracking (Geiger et al., CVPR 2012): drives with boxes that keep their identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from equissl.datasets.drives.box_velocities import with_velocities
from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.kitti.files import (
    Label,
    camera_from_lidar,
    camera_view,
    in_lidar_frame,
    matrix_from,
    oxts_poses,
    parse_labels,
    read_calibration,
    read_velodyne,
    to_boxes,
)
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import Beside, by_frame, numbered_files
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, invert_pose
from equissl.datasets.drives.text_files import read_number_lines
from equissl.util.listing import holds, subfolders

PERIOD = 100_000_000  # nanoseconds; the benchmark publishes no times


class KittiTracking(Reader):
    """Reader of KITTI tracking: poses from the GPS/IMU, boxes in the front camera's field of view only.

    Sequences of the test split, which have no labels, are called ``testing_0000`` and so on.
    """

    format = "kitti-tracking"
    tree = """
training/                      (and testing/, without label_02; or this folder itself)
  velodyne/0000/000000.bin     float32 x y z reflectance
  calib/0000.txt
  label_02/0000.txt            optional
  oxts/0000.txt                poses"""
    skewed = True
    front_labels = True

    def names(self) -> list[str]:
        found = [name for split in ("training", "testing") for name in self._split_names(split)]
        if not found:
            raise self.wrong_folder("no sweeps at training/velodyne/0000/*.bin")
        return found

    def _split_names(self, split: str) -> list[str]:
        folder = self._folder(split) / "velodyne"
        if split == "testing" and self._folder(split) == self._folder("training"):
            return []
        drives = [path.name for path in subfolders(folder) if holds(path, "*.bin")]
        return [name if split == "training" else f"testing_{name}" for name in drives]

    def _folder(self, split: str) -> Path:
        return self.root if (self.root / "velodyne").is_dir() else self.root / split

    def open(self, name: str) -> Drive:
        drive = name.removeprefix("testing_")
        folder = self._folder("testing" if name.startswith("testing_") else "training")
        numbered = numbered_files(folder / "velodyne" / drive, ".bin")
        frames, sweeps = [*numbered], [*numbered.values()]
        calibration, labels = folder / "calib" / f"{drive}.txt", folder / "label_02" / f"{drive}.txt"
        images = Beside(folder / "image_02" / drive, ".png")
        poses = self._poses(name, folder / "oxts" / f"{drive}.txt", calibration, numbered)
        boxes, mislabelled = self._boxes(name, labels, calibration)
        if boxes is not None and poses is not None:
            boxes = with_velocities(boxes, {frame * PERIOD: pose for frame, pose in zip(frames, poses, strict=True)})

        def read(place: int) -> Sweep:
            path, frame = sweeps[place], frames[place]
            if frame in mislabelled:
                raise SweepError(labels, path.stem, mislabelled[frame])
            sweep = read_velodyne(path)
            if boxes is not None:
                sweep.boxes = boxes.get(frame * PERIOD, Boxes.empty())
            return camera_view(sweep, calibration, images.of(path)) if self.camera_only else sweep

        return self.drive(name, Recording(sweeps, np.array(frames, dtype=np.int64) * PERIOD, poses), read)

    def _boxes(self, name: str, path: Path, calibration: Path) -> tuple[dict[int, Boxes] | None, dict[int, str]]:
        """Boxes by time, and what is wrong with the labels of others, by frame."""
        if not path.is_file():
            return None, {}
        labels, problems = parse_labels(path, tracking=True)
        if -1 in problems:
            self.note(name, "", path, problems.pop(-1))
        by_frame: dict[int, list[Label]] = defaultdict(list)
        for label in labels:
            by_frame[label.frame].append(label)
        camera = camera_from_lidar(calibration)
        return {frame * PERIOD: to_boxes(found, camera) for frame, found in by_frame.items()}, problems

    def _poses(self, name: str, path: Path, calibration: Path, sweeps: Mapping[int, Path]) -> np.ndarray | None:
        if not path.is_file():
            self.note(name, "", path, "expected GPS/IMU rows for the poses, the file is missing: sweeps have no poses")
            return None
        lidar_imu = matrix_from(read_calibration(calibration), calibration, 12, "Tr_imu_to_velo", "Tr_imu_velo")
        rows, problems = read_number_lines(path, 6, max(sweeps) + 1)
        rows, reasons = by_frame(rows, problems, [*sweeps])
        self.without_poses(name, path, reasons, [*sweeps.values()])
        return in_lidar_frame(oxts_poses(rows), invert_pose(lidar_imu))
