"""Ingest of recorded drives into drive stores."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from equissl.datasets.drives.drive_parts import plan_parts
from equissl.datasets.drives.errors import IngestError, Problem
from equissl.datasets.drives.ingest_join import join_parts, list_problems
from equissl.datasets.drives.ingest_parts import IngestJob, IngestSpec
from equissl.datasets.drives.ingest_report import IngestReport, report_of
from equissl.datasets.drives.odometry import ODOMETRIES
from equissl.datasets.drives.odometry.job import Placed, estimate_poses, odometry_parts, with_poses
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.readers import Reader
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.sweep import Drive
from equissl.util.parts import check_same, make_parts
from equissl.util.parts_folder import parts_folder
from equissl.util.progress import Progress

logger = logging.getLogger(__name__)
TOLD = 30  # at the end
SWEEPS = 64  # of one part


def ingest(
    format: str,
    root: Path | str,
    out: Path | str,
    drives: list[str] | None = None,
    limit: int | None = None,
    deskew: bool = False,
    camera_only: bool = False,
    ground: bool = True,
    odometry: str | None = None,
    need_pairs: bool = True,
    check: bool = True,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> IngestReport:
    """Read a folder of recorded drives into one drive store (.h5).

    Damaged frames are left out and named; the others are kept. Killed and started again it goes on where it stopped,
    and ends with the same bytes.

    Args:
        format: of the folder, for example kitti-tracking.
        root: the folder.
        out: the file to write.
        drives: names of the drives to read; default all.
        limit: at most so many sweeps of each drive, the first ones.
        deskew: undo the motion of the car during a turn, for formats whose sweeps are stored as measured (KITTI raw,
            tracking, KITTI-360), where poses are known.
        camera_only: keep the points that the front camera sees (KITTI object and tracking, whose labels end there).
        ground: estimate a ground mask where the data set brings none.
        odometry: estimate poses for drives that have none at all: ``icp`` registers each sweep to the one before,
            ``kiss`` to a map (an extra: pip install 'equissl[kiss]').
        need_pairs: refuse drives of which no two sweeps follow one another; KITTI object frames never do.
        check: count points in boxes and align sweeps afterwards, on a sample.
        workers: processes; 0 reads in this one; default one for each core.
        overwrite: replace ``out``, or unfinished work, of another folder or other options.
        progress: show how far it is.

    Returns:
        numbers, problems and checks.

    Raises:
        IngestError: for a wrong folder (with the tree expected and found), no pairs of sweeps, nothing readable, or an
            ``out`` that is another file.
        PartsError: ``out``, or unfinished work, is of another folder or other options; or another process writes it.
        WorkerError: processes died repeatedly over the sweeps named; finished parts are kept.
        OSError: the disk is full; finished parts are kept.
    """
    start, out = time.monotonic(), Path(out)
    spec = IngestSpec(format, Path(root), limit, deskew, camera_only, ground, odometry)
    reader = spec.open()
    need_pairs = need_pairs and not reader.isolated
    _check_options(reader, spec)
    opened, problems = _open_drives(reader, spec, drives)
    if need_pairs:
        _check_pairs(reader, opened, problems)
    description = _describe(spec, opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    complete = not overwrite and _is_complete(out, description)
    if not complete:
        with parts_folder(out, description, overwrite) as folder:
            parts = plan_parts(folder.path, {drive.name: len(drive) for drive in opened}, SWEEPS)
            unplaced = odometry_parts(folder.path, opened, odometry)
            folder.clean([part.path for part in (*parts, *unplaced)])
            total = sum(part.stop - part.start for part in (*parts, *unplaced))
            with Progress(total, f"reading {Path(root).name}", "sweeps", progress) as bar:
                placed = estimate_poses(unplaced, spec, workers, bar)
                opened = [with_poses(drive, placed) for drive in opened]
                job = IngestJob(parts, spec, opened, {name: found.poses for name, found in placed.items()})
                make_parts(job, range(job.count), bar, workers=workers)
                problems += _unplaced(opened, placed)
                join_parts(out, spec, need_pairs, opened, job.parts, description, problems)
                shutil.rmtree(folder.path)
    report = report_of(out, check)
    _tell(report.problems)
    report.already_complete, report.seconds = complete, time.monotonic() - start
    return report


def _tell(problems: list[Problem]) -> None:
    for problem in problems[:TOLD]:
        logger.warning("problem: %s", problem)
    if len(problems) > TOLD:
        logger.warning("... and %d more problems: they are listed in the store", len(problems) - TOLD)


def _check_options(reader: Reader, spec: IngestSpec) -> None:
    if spec.deskew and not reader.skewed:
        raise IngestError(f"expected deskew only for sweeps stored as measured; those of {reader.format} are not")
    if spec.camera_only and not reader.front_labels:
        raise IngestError(f"expected camera_only only for labels of the front camera alone, got {reader.format}")
    if spec.odometry is not None and reader.isolated:
        raise IngestError(f"expected odometry only for drives; the sweeps of {reader.format} do not follow one another")
    if spec.odometry is not None:
        ODOMETRIES[spec.odometry]()  # an unknown name, or a library that is missing, shows before anything is read
    if spec.limit is not None and spec.limit < 1:
        raise IngestError(f"expected a limit of at least 1 sweep, got {spec.limit}")


def _open_drives(reader: Reader, spec: IngestSpec, chosen: list[str] | None) -> tuple[list[Drive], list[Problem]]:
    """Open the drives that can be read, and note the problems of others."""
    names = reader.names()
    if unknown := sorted({*(chosen or [])} - {*names}):
        raise IngestError(f"expected drives of {reader.root}, got {', '.join(unknown)}; it has {', '.join(names)}")
    opened, problems = [], []
    for name in chosen or names:
        try:
            opened.append(spec.cut(_check_drive(reader.open(name))))
        except IngestError as error:
            problems.append(Problem(name, "", "", str(error)))
    problems += reader.problems
    if not any(len(drive) for drive in opened):
        raise IngestError(f"nothing in {reader.root} can be read:\n{list_problems(problems)}")
    return [drive for drive in opened if len(drive)], problems


def _check_drive(drive: Drive) -> Drive:
    """A drive whose times increase, which names its sweeps in the store.

    Raises:
        IngestError: for others, which only a reader of another package gives.
    """
    if len(wrong := np.flatnonzero(np.diff(drive.timestamps) <= 0)):
        raise IngestError(f"expected increasing times of the sweeps of {drive.name}, sweep {wrong[0] + 1} is no later")
    return drive


def _unplaced(drives: list[Drive], placed: Mapping[str, Placed]) -> list[Problem]:
    """Problems of drives with sweeps that an odometry could not place."""
    problems = []
    for drive in drives:
        poses = placed[drive.name].poses if drive.name in placed else np.zeros((0, 4, 4))
        if len(lost := np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))):
            first = f"the first at {drive.timestamps[lost[0]]} ns"
            reason = f"odometry could not place {len(lost)} of {len(drive)} sweeps, {first}"
            problems.append(Problem(drive.name, "", "", f"{reason}: they have no pose"))
    return problems


def _check_pairs(reader: Reader, drives: list[Drive], problems: list[Problem]) -> None:
    reasons = []
    for drive in drives:
        pairs, found = find_pairs(drive.timestamps, drive.rate, drive.poses)
        if len(pairs):
            return
        reasons += [Problem(drive.name, f"at {drive.timestamps[i]} ns", "", reason) for i, reason in found]
        if len(drive) == 1:
            reasons.append(Problem(drive.name, "", "", "has a single sweep"))
    raise IngestError(
        f"expected pairs of consecutive sweeps in {reader.root}, found none in {len(drives)} drives with "
        f"{sum(len(s) for s in drives)} sweeps (need_pairs=false accepts them, for detection):\n"
        f"{list_problems(reasons + problems)}"
    )


def _describe(spec: IngestSpec, drives: list[Drive]) -> dict:
    """Describe an ingest run by what decides its result; of paths only the name of the folder."""
    extents = {s.name: [len(s), int(s.timestamps[0]), int(s.timestamps[-1])] for s in drives}
    return {**spec.options(), "root": spec.root.resolve().name, "drives": extents}


def _is_complete(out: Path, description: dict) -> bool:
    if not out.exists():
        return False
    try:
        found = DriveStore(out).attributes.get("ingest")
    except DriveStoreError as error:
        raise IngestError(f"{out} is in the way and is not overwritten without being told to: {error}") from error
    check_same(out, found, description)
    return True
