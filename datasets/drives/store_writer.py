"""Writing scene stores: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.pairs import find_pairs
from equissl.datasets.drives.store import SequenceIndex
from equissl.datasets.drives.store_format import FORMAT, FORMAT_VERSION, INDEX, write_sweep
from equissl.datasets.drives.sweep import Sequence, Sweep
from equissl.datasets.views.store.writer import write_strings
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


def write_scenes(
    path: Path | str,
    sequences: Iterable[Sequence],
    attributes: dict | None = None,
    problems: Iterable[Problem] = (),
) -> Path:
    """Writes sequences, such as simulated drives, as one scene store.

    Args:
        path: the file to write; its folder is made.
        sequences: with different names.
        attributes: provenance to keep, plain JSON values.
        problems: of the recording, to keep as well.

    Returns:
        ``path``.
    """
    path = Path(path)
    with new_file(path) as file:
        start_file(file)
        for sequence in sequences:
            group, points, boxes = file.create_group(sequence.name), [], []
            pose_of = NextPoses(sequence)
            for index, sweep in enumerate(sequence):
                write_sweep(group, sweep, pose_of.origin, pose_of.after(index))
                points.append(len(sweep))
                boxes.append(-1 if sweep.boxes is None else len(sweep.boxes))
            write_index(file, sequence, np.arange(len(sequence)), points, boxes)
        finish_file(file, attributes or {}, list(problems))
    return path


class NextPoses:
    """The pose of the sweep that follows each sweep, where the two make a pair; and the sequence's first pose."""

    def __init__(self, sequence: Sequence) -> None:
        self.poses = sequence.poses
        pairs, self.problems = find_pairs(sequence.timestamps, sequence.rate, sequence.poses)
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
    file: h5py.File, sequence: Sequence, kept: np.ndarray, num_points: list[int], num_boxes: list[int]
) -> SequenceIndex:
    """Tables of a sequence whose sweeps ``kept`` were written."""
    group = file[INDEX].create_group(sequence.name)
    poses = None if sequence.poses is None else sequence.poses[kept]
    entry = SequenceIndex(
        timestamps=sequence.timestamps[kept],
        poses=poses,
        num_points=np.array(num_points, dtype=np.int64),
        num_boxes=np.array(num_boxes, dtype=np.int64),
        rate=sequence.rate,
        dataset=sequence.dataset,
        attributes=sequence.attributes,
    )
    for name in ("timestamps", "num_points", "num_boxes"):
        group[name] = getattr(entry, name)
    if poses is not None:
        group["poses"] = poses
    group.attrs["rate"], group.attrs["dataset"] = entry.rate or 0.0, np.bytes_(entry.dataset.encode())
    write_strings(group, "attributes", [json.dumps(entry.attributes, sort_keys=True)])
    return entry


def finish_file(file: h5py.File, attributes: dict, problems: list[Problem]) -> None:
    listed = [[p.sequence, p.frame, p.file, p.reason] for p in problems]
    write_strings(file, "provenance", [json.dumps({**attributes, "problems": listed}, sort_keys=True)])


def sweep_bytes(sweep: Sweep) -> int:
    """What a sweep takes in a store, roughly."""
    return sum(a.nbytes for a in vars(sweep).values() if isinstance(a, np.ndarray))
