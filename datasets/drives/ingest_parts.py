"""Parts of a drive store that is made of recorded drives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.deskew import deskew
from equissl.datasets.drives.drive_parts import DriveJob, DrivePart
from equissl.datasets.drives.errors import Problem, SweepError
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.readers import Reader, open_reader
from equissl.datasets.drives.readers.base import pose_or_none
from equissl.datasets.drives.store.format import strings, write_sweep
from equissl.datasets.drives.store.writer import NextPoses, new_file
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.datasets.hdf5 import write_strings
from equissl.util.job import Begun, Tell

SWEEPS, TABLE = "sweeps", "table"


@dataclass(frozen=True)
class IngestSpec:
    """Settings of an ingest run; see ``ingest``."""

    format: str
    root: Path
    limit: int | None = None
    deskew: bool = False
    camera_only: bool = False
    ground: bool = True
    odometry: str | None = None

    def options(self) -> dict:
        """Return the options as plain JSON values, without the folder."""
        return {name: value for name, value in asdict(self).items() if name != "root"}

    def cut(self, drive: Drive) -> Drive:
        """Return the first ``limit`` sweeps."""
        if self.limit is None or len(drive) <= self.limit:
            return drive
        poses = None if drive.poses is None else drive.poses[: self.limit]
        return replace(drive, timestamps=drive.timestamps[: self.limit], poses=poses)

    def open(self) -> Reader:
        """Open the reader of the folder."""
        reader = open_reader(self.format, self.root)
        reader.camera_only = self.camera_only
        return reader


@dataclass
class PartContent:
    """Contents of a part.

    Attributes:
        kept: position of each of its sweeps in the drive.
        frames: names of those.
        points, boxes: their numbers, -1 boxes where there are no labels.
        no_returns: points of each without coordinates, which were left out.
        problems: what was left out.
    """

    kept: list[int] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)
    no_returns: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, index: int, sweep: Sweep) -> None:
        """Note a sweep that was written.

        Args:
            index: position of the sweep in its drive.
            sweep: the sweep that was written.
        """
        self.kept.append(index)
        self.frames.append(sweep.frame or str(sweep.timestamp))
        self.points.append(len(sweep))
        self.boxes.append(-1 if sweep.boxes is None else len(sweep.boxes))
        self.no_returns.append(sweep.no_returns)

    def to_json(self) -> str:
        problems = [list(astuple(problem)) for problem in self.problems]
        return json.dumps([self.kept, self.frames, self.points, self.boxes, self.no_returns, problems])

    @classmethod
    def from_json(cls, text: str) -> PartContent:
        *lists, problems = json.loads(text)
        kept, frames, points, boxes, no_returns = lists
        return cls(kept, frames, points, boxes, no_returns, [Problem(*fields) for fields in problems])


class IngestJob(DriveJob):
    """Job that reads recorded drives into parts; damaged sweeps are left out and noted.

    Args:
        parts: of the drives.
        spec: what is asked for.
        drives: the drives, where they are open already.
        placed: estimated poses (T, 4, 4) by the name of the drive.
    """

    def __init__(
        self,
        parts: list[DrivePart],
        spec: IngestSpec,
        drives: Iterable[Drive] = (),
        placed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__(parts)
        self.spec, self._opened, self.placed = spec, {drive.name: drive for drive in drives}, placed or {}
        self._reader: Reader | None = None

    def __reduce__(self) -> tuple:
        return IngestJob, (self.parts, self.spec, (), self.placed)  # a process has a reader of its own

    def check(self, part: int) -> None:
        """Raise an error for a part that is damaged."""
        with h5py.File(self.path(part), "r") as file:
            strings(file, TABLE)

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> None:
        """Read the sweeps of one part into its file.

        Args:
            part: number of the part.
            given_up: sweeps to leave out, each with the reason.
            tell: called with the work that is begun.
        """
        drive = self._open(self.parts[part].drive)
        following, table = NextPoses(drive), PartContent()
        with new_file(self.path(part)) as file:
            group = file.create_group(SWEEPS)
            for index in self.items(part):
                tell(Begun(index, "reading the sweep"))
                try:
                    sweep = self._read(drive, index, given_up)
                except SweepError as error:
                    table.problems.append(Problem(drive.name, error.frame, error.file, error.reason))
                    continue
                write_sweep(group, sweep, following.origin, following.after(index))
                table.add(index, sweep)
            tell(None)
            write_strings(file, TABLE, [table.to_json()])

    def _open(self, name: str) -> Drive:
        """Open a drive; its index may be large, and is read once in each process, as is the last drive."""
        if name not in self._opened:
            self._reader = self._reader or self.spec.open()
            drive = self.spec.cut(self._reader.open(name))
            self._opened = {name: replace(drive, poses=self.placed.get(name, drive.poses))}
        return self._opened[name]

    def _read(self, drive: Drive, index: int, given_up: Mapping[int, str]) -> Sweep:
        if index in given_up:
            raise SweepError("", f"at {drive.timestamps[index]} ns", given_up[index])
        sweep = drive[index]
        if drive.name in self.placed:
            sweep.pose = pose_or_none(drive.poses, index)
        return _finish(sweep, self.spec, drive, index)


def _finish(sweep: Sweep, spec: IngestSpec, drive: Drive, index: int) -> Sweep:
    if spec.deskew and drive.poses is not None:
        sweep = deskew(sweep, drive.poses, drive.timestamps, index, drive.rate or 10.0)
    if spec.ground and sweep.ground is None and len(sweep):
        sweep.ground = estimate_ground(sweep.points)
    return sweep


def read_part(part: DrivePart, target: h5py.Group) -> PartContent:
    """Copy the sweeps of a part into the group of its drive.

    Args:
        part: the part, a file of its own.
        target: group of the drive's sweeps in the store.
    """
    with h5py.File(part.path, "r") as file:
        for name in file[SWEEPS]:
            file.copy(f"{SWEEPS}/{name}", target)
        return PartContent.from_json(strings(file, TABLE)[0])
