"""Parts of recorded drives, joined to a store."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.drive_parts import DrivePart
from equissl.datasets.drives.errors import IngestError, Problem
from equissl.datasets.drives.ingest_parts import IngestSpec, read_part
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.format import INDEX
from equissl.datasets.drives.store.writer import finish_file, new_file, start_file, write_index
from equissl.datasets.drives.sweep import Drive
from equissl.util.files import check_space

SHOWN = 8  # problems in an error


def list_problems(problems: list[Problem]) -> str:
    """List the first problems, a line each."""
    lines = [f"  {problem}" for problem in problems[:SHOWN]]
    return "\n".join(lines + [f"  ... and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN))


def join_parts(
    out: Path,
    spec: IngestSpec,
    need_pairs: bool,
    drives: list[Drive],
    parts: list[DrivePart],
    description: dict,
    before: list[Problem],
) -> None:
    """Join the parts to the finished file, with the problems of the sweeps left out.

    Args:
        out: the file.
        spec: what was asked for.
        need_pairs: refuse drives without pairs.
        drives: of the recording.
        parts: of these drives, finished.
        description: of the run, to keep.
        before: problems found earlier, to keep too.

    Raises:
        IngestError: for nothing readable, or no pairs where they are needed; nothing is written then.
    """
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
            raise IngestError(f"nothing in {spec.root} can be read:\n{list_problems(before + problems)}")
        if need_pairs and not pairs:
            listed = list_problems(before + problems)
            raise IngestError(f"expected pairs of sweeps in {spec.root}, found none:\n{listed}")
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
    if left_out := [n for content in found for n in content.no_returns if n]:
        reason = f"{sum(left_out):,} returns without coordinates in {len(left_out)} of {len(kept)} sweeps: left out"
        problems.append(Problem(drive.name, "", "", reason))
    return len(pairs), problems


def _relative(problem: Problem, root: Path) -> Problem:
    """Remove the place of the folder on this machine from a problem."""
    return Problem(
        problem.drive, problem.frame, problem.file.replace(f"{root}/", ""), problem.reason.replace(f"{root}/", "")
    )
