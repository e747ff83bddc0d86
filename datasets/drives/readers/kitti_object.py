"""KITTI 3D object detection (Geiger et al., CVPR 2012): isolated frames with boxes."""

from __future__ import annotations

from collections.abc import Mapping
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
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.readers.frames import Beside, numbered_files
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep
from equissl.datasets.drives.text_files import read_lines, read_words
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
  velodyne/000000.bin       float32 x y z reflectance; numbers of any width
  calib/000000.txt
  label_2/000000.txt
  planes/000000.txt         optional: road planes, as OpenPCDet offers them
ImageSets/train.txt         optional, and other lists of ids
mapping/train_mapping.txt, mapping/train_rand.txt   optional"""
    isolated = True
    skewed = True
    front_labels = True

    def names(self) -> list[str]:
        found = [s for s in ("training", "testing") if holds(self.root / s / "velodyne", "*.bin")]
        if not found:
            raise self.wrong_folder("no sweeps at training/velodyne/*.bin")
        return found

    def open(self, name: str) -> Drive:
        folder = self.root / name
        numbered = numbered_files(folder / "velodyne", ".bin")
        if not numbered:
            raise IngestError(f"expected sweeps named by numbers, as 000000.bin, in {folder / 'velodyne'}, found none")
        sweeps = [*numbered.values()]
        calibrations, labels, planes = (Beside(folder / part) for part in ("calib", "label_2", "planes"))
        images = Beside(folder / "image_2", ".png")

        def read(place: int) -> Sweep:
            path = sweeps[place]
            sweep, calibration = read_velodyne(path), calibrations.of(path)
            if labels.folder.is_dir():
                sweep.boxes = _read_boxes(labels.of(path), calibration, sweep.frame)
            sweep.ground_plane = _read_plane(planes.of(path), calibration, sweep.frame)
            if not self.camera_only:
                return sweep
            try:
                return camera_view(sweep, calibration, images.of(path))
            except IngestError as error:
                raise SweepError(calibration, sweep.frame, str(error)) from error

        times = np.array([*numbered], dtype=np.int64) * SECOND
        return self.drive(name, Recording(sweeps, times, attributes=self._attributes(name, numbered)), read)

    def _attributes(self, name: str, sweeps: Mapping[int, Path]) -> dict:
        names = {frame: path.stem for frame, path in sweeps.items()}
        lists = {path.stem: _ids(path, names) for path in entries(self.root / "ImageSets", "*.txt")}
        raw = _raw_frames(self.root / "mapping", names) if name == "training" else {}
        return {"splits": lists, "raw": raw}


def _ids(path: Path, names: Mapping[int, str]) -> list[str]:
    """Ids of a list, spelled as the files of the sweeps are."""
    return [names.get(int(word), word) if word.isdecimal() else word for word in read_words(path)]


def _read_boxes(path: Path, calibration: Path, frame: str) -> Boxes:
    if not path.is_file():
        raise SweepError(path, frame, "expected the labels of this frame, the file is missing")
    labels, problems = parse_labels(path, tracking=False)
    if problems:
        raise SweepError(path, frame, "; ".join(problems.values()))
    try:
        return to_boxes(labels, camera_from_lidar(calibration))
    except IngestError as error:
        raise SweepError(calibration, frame, str(error)) from error


def _read_plane(path: Path, calibration: Path, frame: str) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        return read_plane(path, camera_from_lidar(calibration))
    except IngestError as error:
        raise SweepError(path, frame, str(error)) from error


def _raw_frames(folder: Path, names: Mapping[int, str]) -> dict[str, str]:
    """Raw drive and frame of each training id: row ``rand[id]`` (from 1) of the mapping."""
    lines, order = folder / "train_mapping.txt", folder / "train_rand.txt"
    if not (lines.is_file() and order.is_file()):
        return {}
    mapping = [line.split() for _, line in read_lines(lines)]
    shuffled = [int(word) for line in read_words(order) for word in line.split(",") if word]
    known = {frame: shuffled[frame] - 1 for frame in names if frame < len(shuffled)}
    return {names[frame]: "/".join(mapping[row][1:]) for frame, row in known.items() if row < len(mapping)}
