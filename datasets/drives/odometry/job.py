"""Poses of the drives of a recording that have none, one file a drive."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.drive_parts import DriveJob, DrivePart, plan_parts
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.ingest_parts import IngestSpec
from equissl.datasets.drives.odometry import ODOMETRIES
from equissl.datasets.drives.odometry.base import LOST
from equissl.datasets.drives.odometry.quality import agreement
from equissl.datasets.drives.store.format import strings
from equissl.datasets.drives.store.writer import new_file
from equissl.datasets.drives.sweep import Drive
from equissl.datasets.hdf5 import write_strings
from equissl.util.job import Begun, Limits, Tell
from equissl.util.parts import make_parts
from equissl.util.progress import Progress

POSES, SAID = "poses", "said"
NO_LIMIT = Limits(seconds=None)  # a whole drive is one part


def lacks_poses(drive: Drive) -> bool:
    """Return True if no sweep of a drive has a pose."""
    return drive.poses is None or not np.isfinite(drive.poses).any()


def odometry_parts(folder: Path, drives: Sequence[Drive], name: str | None) -> list[DrivePart]:
    """Plan the files of poses, one for each drive that has none; none without an odometry.

    Args:
        folder: of unfinished work.
        drives: of the recording.
        name: of the odometry, or None.
    """
    lengths = {drive.name: len(drive) for drive in drives if name is not None and lacks_poses(drive)}
    return plan_parts(folder, lengths, prefix="poses")


def estimate_poses(parts: list[DrivePart], spec: IngestSpec, workers: int | None, bar: Progress) -> dict[str, Placed]:
    """Estimate the poses of drives; what is there already is kept.

    Args:
        parts: files to write, one a drive.
        spec: of the ingest run.
        workers: processes, see `equissl.util.workers.run_parts`.
        bar: counts sweeps.

    Returns:
        poses by the name of the drive.
    """
    job = OdometryJob(parts, spec)
    make_parts(job, range(job.count), bar, workers=workers, limits=NO_LIMIT)
    return {part.drive: read_placed(part.path) for part in parts}


class Placed:
    """Poses of a drive, and what is to be said of them.

    Args:
        poses: (T, 4, 4) float64, NaN where a sweep could not be placed.
        said: plain JSON values: the odometry, numbers of sweeps, metres, and the agreement of `quality`.
    """

    def __init__(self, poses: np.ndarray, said: dict) -> None:
        self.poses, self.said = poses, said


def with_poses(drive: Drive, placed: Mapping[str, Placed]) -> Drive:
    """Return a drive with its estimated poses, and what is to be said of them among its attributes.

    Args:
        drive: of the recording.
        placed: poses by the name of the drive; a drive without any stays as it is.
    """
    if drive.name not in placed:
        return drive
    found = placed[drive.name]
    return replace(drive, poses=found.poses, attributes={**drive.attributes, "odometry": found.said})


class OdometryJob(DriveJob):
    """Job that estimates the poses of one drive for each part.

    Args:
        parts: of whole drives.
        spec: of the ingest run.
    """

    def __init__(self, parts: list[DrivePart], spec: IngestSpec) -> None:
        super().__init__(parts)
        self.spec = spec

    def check(self, part: int) -> None:
        """Raise an error for a file that is damaged."""
        if len(read_placed(self.path(part)).poses) != self.units(part):
            raise IngestError(f"expected {self.units(part)} poses in {self.path(part)}")

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> None:
        """Estimate the poses of one drive and write them.

        Args:
            part: number of the part.
            given_up: sweeps to leave out, each with the reason.
            tell: called with the work that is begun.
        """
        assert self.spec.odometry is not None
        name = self.parts[part].drive
        drive = self.spec.cut(self.spec.open().open(name))
        poses = np.full((len(drive), 4, 4), np.nan)
        odometry, lost = ODOMETRIES[self.spec.odometry](), 0
        for index in self.items(part):
            tell(Begun(index, "placing the sweep"))
            points = None if index in given_up else points_of(drive, index)
            pose = None if points is None else odometry.place(points, float(drive.timestamps[index]) / 1e9)
            poses[index] = np.nan if pose is None else pose
            lost = lost + 1 if pose is None else 0
            if lost > LOST:
                break
        tell(Begun(self.items(part).stop - 1, "comparing poses", len(drive)))
        said = {"name": self.spec.odometry, **describe(poses, drive)}
        with new_file(self.path(part)) as file:
            file[POSES] = poses
            write_strings(file, SAID, [json.dumps(said, sort_keys=True)])
        tell(None)


def read_placed(path: Path) -> Placed:
    """Read the poses that `OdometryJob` wrote."""
    with h5py.File(path, "r") as file:
        return Placed(file[POSES][()], json.loads(strings(file, SAID)[0]))


def points_of(drive: Drive, index: int) -> np.ndarray | None:
    """Read the points of a sweep; None where it is damaged, which is told when it is read into the store.

    Args:
        drive: of the recording.
        index: of the sweep.
    """
    try:
        return drive[index].points
    except SweepError:
        return None


def describe(poses: np.ndarray, drive: Drive) -> dict:
    """Describe estimated poses: sweeps placed, metres driven, and agreement with sweeps registered two turns apart.

    Args:
        poses: (T, 4, 4), NaN where a sweep could not be placed.
        drive: whose they are.
    """
    known = poses[np.isfinite(poses).all(axis=(1, 2)), :3, 3]
    found = agreement(poses, lambda index: points_of(drive, index))
    numbers = {"shift": found.shift, "turn": found.turn, "worst": found.worst}
    return {
        "sweeps": len(poses),
        "placed": len(known),
        "metres": round(float(np.linalg.norm(np.diff(known, axis=0), axis=1).sum()), 3),
        "samples": found.samples,
        **{key: None if math.isnan(value) else round(value, 5) for key, value in numbers.items()},
    }


def odometry_line(name: str, said: Mapping) -> str:
    """Say how good the poses of a drive are, for people.

    Args:
        name: of the drive.
        said: as `describe` gives it.
    """
    counts = f"{said['placed']} of {said['sweeps']} sweeps over {said['metres']:.1f} m"
    placed = f"{name}: odometry {said['name']} placed {counts}"
    if not said["samples"]:
        return f"{placed}; no two sweeps to compare them with"
    return (
        f"{placed}; sweeps two turns apart, registered at once, agree within {100 * said['shift']:.1f} cm and "
        f"{said['turn']:.2f}° (median of {said['samples']}; {100 * said['worst']:.1f} cm at most)"
    )
