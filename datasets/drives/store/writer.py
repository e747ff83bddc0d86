"""Writer of drive stores: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.format import FORMAT, FORMAT_VERSION, INDEX, write_sweep
from equissl.datasets.drives.store.store import DriveIndex
from equissl.datasets.drives.sweep import Drive
from equissl.datasets.hdf5 import write_strings
from equissl.util.files import atomic_path, full_disk_message


@contextmanager
def new_file(path: Path, needed: int = 0) -> Iterator[h5py.File]:
    """An HDF5 file that takes its name, whole and synced to disk, on a clean exit.

    Args:
        path: final name; its folder is made.
        needed: bytes it will take, for the message of a full disk.
    """
    with full_disk_message(path, needed), atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        yield file


def write_drives(
    path: Path | str,
    drives: Iterable[Drive],
    attributes: dict | None = None,
    problems: Iterable[Problem] = (),
) -> Path:
    """Write drives, such as simulated ones, as one drive store.

    Args:
        path: the file to write; its folder is made.
        drives: with different names.
        attributes: provenance to keep, plain JSON values.
        problems: problems of the recording, to keep as well.

    Returns:
        ``path``.
    """
    path = Path(path)
    with new_file(path) as file:
        start_file(file)
        for drive in drives:
            group, points, boxes = file.create_group(drive.name), [], []
            pose_of = NextPoses(drive)
            for index, sweep in enumerate(drive):
                write_sweep(group, sweep, pose_of.origin, pose_of.after(index))
                points.append(len(sweep))
                boxes.append(-1 if sweep.boxes is None else len(sweep.boxes))
            write_index(file, drive, np.arange(len(drive)), points, boxes)
        finish_file(file, attributes or {}, list(problems))
    return path


class NextPoses:
    """Pose of the sweep that follows each sweep, where the two make a pair; and the drive's first pose."""

    def __init__(self, drive: Drive) -> None:
        self.poses = drive.poses
        pairs, self.problems = find_pairs(drive.timestamps, drive.rate, drive.poses)
        self.next = dict(pairs.tolist())
        self.origin: np.ndarray | None = None
        if self.poses is not None and len(known := np.flatnonzero(np.isfinite(self.poses).all(axis=(1, 2)))):
            self.origin = self.poses[known[0]]

    def after(self, index: int) -> np.ndarray | None:
        return self.poses[self.next[index]] if self.poses is not None and index in self.next else None


def start_file(file: h5py.File) -> None:
    file.attrs["format"], file.attrs["format_version"] = np.bytes_(FORMAT.encode()), FORMAT_VERSION
    file.create_group(INDEX)


def write_index(
    file: h5py.File, drive: Drive, kept: np.ndarray, num_points: list[int], num_boxes: list[int]
) -> DriveIndex:
    """Write the tables of a drive whose sweeps ``kept`` were written.

    Args:
        file: the store.
        drive: in the store.
        kept: positions of the sweeps that were written.
        num_points: points of each of them.
        num_boxes: boxes of each of them, -1 for a sweep without labels.
    """
    group = file[INDEX].create_group(drive.name)
    poses = None if drive.poses is None else drive.poses[kept]
    entry = DriveIndex(
        timestamps=drive.timestamps[kept],
        poses=poses,
        num_points=np.array(num_points, dtype=np.int64),
        num_boxes=np.array(num_boxes, dtype=np.int64),
        rate=drive.rate,
        dataset=drive.dataset,
        attributes=drive.attributes,
    )
    for name in ("timestamps", "num_points", "num_boxes"):
        group[name] = getattr(entry, name)
    if poses is not None:
        group["poses"] = poses
    group.attrs["rate"], group.attrs["dataset"] = entry.rate or 0.0, np.bytes_(entry.dataset.encode())
    write_strings(group, "attributes", [json.dumps(entry.attributes, sort_keys=True)])
    return entry


def finish_file(file: h5py.File, attributes: dict, problems: list[Problem]) -> None:
    """Write the provenance of a store.

    Args:
        file: the store.
        attributes: its provenance.
        problems: found while it was written.
    """
    listed = [[p.drive, p.frame, p.file, p.reason] for p in problems]
    write_strings(file, "provenance", [json.dumps({**attributes, "problems": listed}, sort_keys=True)])
