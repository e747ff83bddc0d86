"""KITTI 3D object detection (Geiger et al., CVPR 2012): isolated frames with boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.kitti.files import (
    camera_from_lidar,
    camera_view,
    parse_labels,
    read_plane,
    read_velodyne,
    to_boxes,
)
from equissl.datasets.drives.readers.base import Reader, sorted_numbers, usual_size
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep
from equissl.util.listing import entries, holds

SECOND = 1_000_000_000


class KittiObject(Reader):
    """Reader of KITTI object. Its sweeps are in random order: for detection, not for pairs.

    Timestamps are the frame numbers in seconds. The drive's attributes hold the id lists of ``ImageSets``, and,
    with the benchmark's mapping files, the raw drive and frame of each id (``raw``), to find what overlaps with
    sequences of the raw, odometry and SemanticKITTI data.
    """

    format = "kitti-object"
    tree = """
training/                   (and testing/, without label_2)
  velodyne/000000.bin       float32 x y z reflectance
  calib/000000.txt
  label_2/000000.txt
  planes/000000.txt         optional: road planes, as OpenPCDet offers them
ImageSets/train.txt         optional, and other lists of ids
mapping/train_mapping.txt, mapping/train_rand.txt   optional"""
    isolated = True
    skewed = True

    def names(self) -> list[str]:
        found = [s for s in ("training", "testing") if holds(self.root / s / "velodyne", "*.bin")]
        if not found:
            raise self.wrong_folder("no sweeps at training/velodyne/*.bin")
        return found

    def open(self, name: str) -> Drive:
        folder = self.root / name
        frames = sorted_numbers(folder / "velodyne", ".bin")
        usual = usual_size([folder / "velodyne" / f"{frame:06d}.bin" for frame in frames])
        labelled = (folder / "label_2").is_dir()

        def read(index: int) -> Sweep:
            frame = f"{frames[index]:06d}"
            points, intensity = read_velodyne(folder / "velodyne" / f"{frame}.bin", frame, usual)
            boxes = _read_boxes(folder, frame) if labelled else None
            plane = _read_plane(folder, frame)
            sweep = Sweep(points, frames[index] * SECOND, None, intensity, boxes=boxes, frame=frame, ground_plane=plane)
            if not self.camera_only:
                return sweep
            try:
                return camera_view(sweep, folder / "calib" / f"{frame}.txt", folder / "image_2" / f"{frame}.png")
            except IngestError as error:
                raise SweepError(folder / "calib" / f"{frame}.txt", frame, str(error)) from error

        timestamps = np.array(frames, dtype=np.int64) * SECOND
        return Drive(name, timestamps, read, self.rate, self.format, self._attributes(name, frames))

    def _attributes(self, name: str, frames: list[int]) -> dict:
        lists = {path.stem: path.read_text().split() for path in entries(self.root / "ImageSets", "*.txt")}
        raw = _raw_frames(self.root / "mapping", frames) if name == "training" else {}
        return {"splits": lists, "raw": raw}


def _read_boxes(folder: Path, frame: str) -> Boxes:
    path, calibration = folder / "label_2" / f"{frame}.txt", folder / "calib" / f"{frame}.txt"
    if not path.is_file():
        raise SweepError(path, frame, "expected the labels of this frame, the file is missing")
    labels, problems = parse_labels(path, tracking=False)
    if problems:
        raise SweepError(path, frame, "; ".join(problems.values()))
    try:
        return to_boxes(labels, camera_from_lidar(calibration))
    except IngestError as error:
        raise SweepError(calibration, frame, str(error)) from error


def _read_plane(folder: Path, frame: str) -> np.ndarray | None:
    path = folder / "planes" / f"{frame}.txt"
    if not path.is_file():
        return None
    try:
        return read_plane(path, camera_from_lidar(folder / "calib" / f"{frame}.txt"))
    except IngestError as error:
        raise SweepError(path, frame, str(error)) from error


def _raw_frames(folder: Path, frames: list[int]) -> dict[str, str]:
    """Raw drive and frame of each training id: line ``rand[id]`` (from 1) of the mapping."""
    lines, order = folder / "train_mapping.txt", folder / "train_rand.txt"
    if not (lines.is_file() and order.is_file()):
        return {}
    mapping = [line.split() for line in lines.read_text().splitlines()]
    shuffled = [int(number) for number in order.read_text().replace(",", " ").split()]
    return {f"{frame:06d}": "/".join(mapping[shuffled[frame] - 1][1:]) for frame in frames if frame < len(shuffled)}
