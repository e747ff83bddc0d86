"""Ingest of recorded drives into drive stores."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.checks import CheckReport, check_drives
from equissl.datasets.drives.drive_parts import DrivePart, plan_parts
from equissl.datasets.drives.errors import IngestError, Problem
from equissl.datasets.drives.ingest_parts import IngestJob, IngestSpec, read_part
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.readers import Reader
from equissl.datasets.drives.store.format import INDEX
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.store.writer import finish_file, new_file, start_file, write_index
from equissl.datasets.drives.sweep import Drive
from equissl.util.files import check_space
from equissl.util.parts import check_same, make_parts
from equissl.util.parts_folder import parts_folder
from equissl.util.progress import Progress

logger = logging.getLogger(__name__)
SHOWN = 8  # problems in an error
TOLD = 30  # at the end
SWEEPS = 64  # of one part


@dataclass
class IngestReport:
    """Summary of an ingest run.

    Attributes:
        path: the store.
        drives, sweeps, pairs, boxes: numbers in it.
        problems: what was left out or looks wrong.
        checks: points in boxes, and how well sweeps align; None where they were not asked for.
        seconds: wall time.
        already_complete: the store was there before.
    """

    path: Path
    drives: int
    sweeps: int
    pairs: int
    boxes: int
    problems: list[Problem] = field(default_factory=list)
    checks: CheckReport | None = None
    seconds: float = 0.0
    already_complete: bool = False


def ingest(
    format: str,
    root: Path | str,
    out: Path | str,
    drives: list[str] | None = None,
    limit: int | None = None,
    deskew: bool = False,
    camera_only: bool = False,
    ground: bool = True,
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
    spec = IngestSpec(format, Path(root), limit, deskew, camera_only, ground)
    reader = spec.open()
    need_pairs = need_pairs and not reader.isolated
    _check_options(reader, spec)
    opened, problems = _open_drives(reader, spec, drives)
    if need_pairs:
        _check_pairs(reader, opened, problems)
    description = _describe(spec, opened)
    total = sum(len(drive) for drive in opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    with Progress(total, f"reading {Path(root).name}", "sweeps", progress) as bar:
        complete = not overwrite and _is_complete(out, description)
        if not complete:
            with parts_folder(out, description, overwrite) as folder:
                job = IngestJob(plan_parts(folder.path, {s.name: len(s) for s in opened}, SWEEPS), spec, opened)
                folder.clean([part.path for part in job.parts])
                make_parts(job, range(job.count), bar, workers=workers)
                _join(out, spec, need_pairs, opened, job.parts, description, problems)
                shutil.rmtree(folder.path)
    report = _report(DriveStore(out))
    _tell(report.problems)
    if check:
        store = DriveStore(out)
        report.checks = check_drives([store.drive(name) for name in store.names])
        store.close()
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
    if spec.camera_only and spec.format not in ("kitti-object", "kitti-tracking"):
        raise IngestError(f"expected camera_only only for kitti-object and kitti-tracking, got {spec.format}")
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
            opened.append(spec.cut(reader.open(name)))
        except IngestError as error:
            problems.append(Problem(name, "", "", str(error)))
    problems += reader.problems
    if not any(len(drive) for drive in opened):
        raise IngestError(f"nothing in {reader.root} can be read:\n{_list(problems)}")
    return [drive for drive in opened if len(drive)], problems


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
        f"{_list(reasons + problems)}"
    )


def _list(problems: list[Problem]) -> str:
    lines = [f"  {problem}" for problem in problems[:SHOWN]]
    return "\n".join(lines + [f"  ... and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN))


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


def _join(
    out: Path,
    spec: IngestSpec,
    need_pairs: bool,
    drives: list[Drive],
    parts: list[DrivePart],
    description: dict,
    before: list[Problem],
) -> None:
    """Join the parts to the finished file."""
    needed = sum(part.path.stat().st_size for part in parts)
    check_space(out, needed)
    problems: list[Problem] = []
    with new_file(out, needed) as file:
        start_file(file)
        pairs = 0
        for drive in drives:
            mine = [part for part in parts if part.drive == drive.name]
            count, found = _join_drive(file, drive, mine)
            pairs += count
            problems += [p for p in found if need_pairs or p.file or not p.frame]
        if not file.keys() - {INDEX}:
            raise IngestError(f"nothing in {spec.root} can be read:\n{_list(before + problems)}")
        if need_pairs and not pairs:
            raise IngestError(f"expected pairs of sweeps in {spec.root}, found none:\n{_list(before + problems)}")
        finish_file(file, {"ingest": description}, [_relative(p, spec.root) for p in before + problems])


def _join_drive(file: h5py.File, drive: Drive, parts: list[DrivePart]) -> tuple[int, list[Problem]]:
    """Number of pairs, and what is wrong."""
    group = file.create_group(drive.name)
    found = [read_part(part, group) for part in parts]
    problems = [problem for content in found for problem in content.problems]
    kept = np.array([index for content in found for index in content.kept], dtype=np.int64)
    if not len(kept):
        del file[drive.name]
        return 0, [*problems, Problem(drive.name, "", "", "none of its sweeps can be read")]
    points, boxes = ([n for content in found for n in getattr(content, name)] for name in ("points", "boxes"))
    entry = write_index(file, drive, kept, points, boxes)
    pairs, gaps = find_pairs(entry.timestamps, entry.rate, entry.poses)
    followed = set(pairs[:, 0].tolist())
    for index, timestamp in enumerate(entry.timestamps):
        sweep = group[str(timestamp)]
        if index not in followed and "ego_motion" in sweep:
            del sweep["ego_motion"]  # the sweep that it leads to was left out
    frames = [frame for content in found for frame in content.frames]
    problems += [Problem(drive.name, frames[index], "", reason) for index, reason in gaps]
    return len(pairs), problems


def _relative(problem: Problem, root: Path) -> Problem:
    """Remove the place of the folder on this machine from a problem."""
    return Problem(
        problem.drive, problem.frame, problem.file.replace(f"{root}/", ""), problem.reason.replace(f"{root}/", "")
    )


def _report(store: DriveStore) -> IngestReport:
    boxes = sum(int(entry.num_boxes[entry.num_boxes > 0].sum()) for entry in store.index.values())
    report = IngestReport(store.path, len(store.names), store.num_sweeps, len(store.pairs()), boxes, store.problems)
    store.close()
    return report
