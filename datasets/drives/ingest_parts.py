"""A drive store is written in parts, side by side; a part is whole or not there."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.deskew import deskew
from equissl.datasets.drives.errors import IngestError, Problem, SweepError
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.readers import Reader, open_reader
from equissl.datasets.drives.store.format import strings, write_sweep
from equissl.datasets.drives.store.writer import NextPoses, new_file
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.datasets.views.store.writer import write_strings
from equissl.util.progress import Progress

SWEEPS, TABLE = "sweeps", "table"


@dataclass(frozen=True)
class IngestSpec:
    """What is asked for; see ``ingest``."""

    format: str
    root: Path
    limit: int | None = None
    deskew: bool = False
    camera_only: bool = False
    ground: bool = True

    def options(self) -> dict:
        """Plain JSON values, without the folder."""
        return {name: value for name, value in asdict(self).items() if name != "root"}

    def cut(self, drive: Drive) -> Drive:
        """The first ``limit`` sweeps."""
        if self.limit is None or len(drive) <= self.limit:
            return drive
        poses = None if drive.poses is None else drive.poses[: self.limit]
        return replace(drive, timestamps=drive.timestamps[: self.limit], poses=poses)

    def open(self) -> Reader:
        """The reader of the folder."""
        reader = open_reader(self.format, self.root)
        reader.camera_only = self.camera_only
        return reader


@dataclass(frozen=True)
class Part:
    """Sweeps ``start`` to ``stop`` of a sequence, in a file of their own."""

    path: Path
    drive: str
    start: int
    stop: int


@dataclass(frozen=True)
class PartContent:
    """What a part holds: positions of its sweeps in the sequence, names, sizes, and what was left out."""

    kept: np.ndarray
    frames: list[str]
    points: list[int]
    boxes: list[int]
    problems: list[Problem]


def write_parts(spec: IngestSpec, drives: list[Drive], parts: list[Part], workers: int | None, bar: Progress) -> None:
    """Writes the parts that are not there yet.

    Raises:
        IngestError: where a process died; finished parts are kept.
    """
    missing = [part for part in parts if not _is_whole(part.path)]
    done = sum(part.stop - part.start for part in parts) - sum(part.stop - part.start for part in missing)
    if done:
        bar.say(f"continuing: {done} sweeps are there already")
        bar.skip(done)
    workers = min(len(os.sched_getaffinity(0)) if workers is None else workers, len(missing))
    if workers <= 1:
        opened = {drive.name: drive for drive in drives}
        for part in missing:
            write_part(spec, opened[part.drive], part)
            bar.update(part.stop - part.start)
        return
    # spawned: this process may hold threads and open files
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (spec,)) as pool:
        running = {pool.submit(_work, part): part for part in missing}
        try:
            for future in as_completed(running):
                future.result()
                bar.update(running[future].stop - running[future].start)
        except BrokenProcessPool as error:
            raise IngestError(
                f"a process that read sweeps died (out of memory?): finished parts are kept in {parts[0].path.parent}, "
                f"the same command goes on from there"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """A process's own reader: an index may be large, and is made once."""

    def __init__(self, spec: IngestSpec) -> None:
        self.spec, self.reader = spec, spec.open()
        self.drive: Drive | None = None

    def write(self, part: Part) -> None:
        if self.drive is None or self.drive.name != part.drive:
            self.drive = self.spec.cut(self.reader.open(part.drive))
        write_part(self.spec, self.drive, part)


_worker: _Worker | None = None


def _start_worker(spec: IngestSpec) -> None:
    global _worker
    _worker = _Worker(spec)


def _work(part: Part) -> None:
    assert _worker is not None, "started with _start_worker"
    _worker.write(part)


def write_part(spec: IngestSpec, drive: Drive, part: Part) -> None:
    """Reads the sweeps of one part into its file; damaged ones are left out and noted."""
    following = NextPoses(drive)
    kept, frames, points, boxes, problems = [], [], [], [], []
    with new_file(part.path) as file:
        group = file.create_group(SWEEPS)
        for index in range(part.start, part.stop):
            try:
                sweep = drive[index]
            except SweepError as error:
                problems.append([part.drive, error.frame, error.file, error.reason])
                continue
            sweep = _finish(sweep, spec, drive, index)
            write_sweep(group, sweep, following.origin, following.after(index))
            kept.append(index)
            frames.append(sweep.frame or str(sweep.timestamp))
            points.append(len(sweep))
            boxes.append(-1 if sweep.boxes is None else len(sweep.boxes))
        write_strings(file, TABLE, [json.dumps([kept, frames, points, boxes, problems])])


def _finish(sweep: Sweep, spec: IngestSpec, drive: Drive, index: int) -> Sweep:
    if spec.deskew and drive.poses is not None:
        sweep = deskew(sweep, drive.poses, drive.timestamps, index, drive.rate or 10.0)
    if spec.ground and sweep.ground is None and len(sweep):
        sweep.ground = estimate_ground(sweep.points)
    return sweep


def read_part(part: Part, target: h5py.Group) -> PartContent:
    """Copies the sweeps of a part into the group of its sequence."""
    with h5py.File(part.path, "r") as file:
        for name in file[SWEEPS]:
            file.copy(f"{SWEEPS}/{name}", target)
        kept, frames, points, boxes, problems = json.loads(strings(file, TABLE)[0])
    noted = [Problem(*fields) for fields in problems]
    return PartContent(np.array(kept, dtype=np.int64), frames, points, boxes, noted)


def _is_whole(path: Path) -> bool:
    """Parts take their names when they are whole; one that cannot be opened was damaged later."""
    if not path.exists():
        return False
    try:
        with h5py.File(path, "r") as file:
            return TABLE in file
    except OSError:
        path.unlink()
        return False
