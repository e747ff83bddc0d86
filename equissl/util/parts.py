"""Resumable work in parts, each a file that is whole or not there.

See :mod:`equissl.util.parts_folder` for the folder they are in, and :mod:`equissl.util.workers` for who makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from equissl.util.job import Job, Limits
from equissl.util.parts_folder import PartsError, differences
from equissl.util.progress import Progress
from equissl.util.workers import Engine, run_parts


class FileJob(Job, Protocol):
    """A job whose parts are files, numbered from 0."""

    @property
    def count(self) -> int:
        """Number of parts."""
        ...

    def path(self, part: int) -> Path:
        """Return the file of a part, in the folder of parts."""
        ...

    def check(self, part: int) -> None:
        """Raise an error for a file that is damaged."""
        ...

    def units(self, part: int) -> int:
        """Return the steps of the progress bar that a part takes."""
        ...


def find_missing(job: FileJob, parts: Sequence[int], bar: Progress) -> list[int]:
    """Return the parts to be made; a damaged one is removed.

    Args:
        job: writes the parts.
        parts: numbers of the parts wanted.
        bar: tells of damaged parts.
    """
    return [part for part in parts if not _is_whole(job, part, bar)]


def make_parts(
    job: FileJob,
    parts: Sequence[int],
    bar: Progress,
    missing: Sequence[int] | None = None,
    workers: int | None = None,
    limits: Limits | None = None,
    engine: Engine = "processes",
) -> None:
    """Make the files of ``parts`` that are missing.

    Args:
        job: what to do.
        parts: numbers.
        bar: counts their units.
        missing: those of them that are to be made, where that is known.
        workers, limits, engine: see :func:`equissl.util.workers.run_parts`.

    Raises:
        WorkerError: see there; finished parts are kept.
        OSError: the disk is full; finished parts are kept.
    """
    missing = find_missing(job, parts, bar) if missing is None else missing
    total, left = (sum(job.units(part) for part in numbers) for numbers in (parts, missing))
    if missing and left < total:
        bar.say(f"continuing: {total - left} of {total} {bar.unit} are there already")
    bar.skip(total - left)
    for part, _ in run_parts(job, missing, workers, limits, engine):
        if not job.path(part).exists():
            raise PartsError(f"a worker wrote {job.path(part)}, which is not there: machines must share that folder")
        bar.update(job.units(part))


def check_same(out: Path, found: Any, asked: dict[str, Any]) -> None:
    """Raise an error where the finished file ``out`` was made by other work.

    Args:
        out: the file.
        found: the description in it, None where it has none.
        asked: that of this work.

    Raises:
        PartsError: with the difference.
    """
    if found != asked:
        differing = differences(found or {}, asked)
        raise PartsError(f"{out} holds something else and is not overwritten without being told to:\n{differing}")


def _is_whole(job: FileJob, part: int, bar: Progress) -> bool:
    path = job.path(part)
    if not path.exists():
        return False
    try:
        job.check(part)
    except (OSError, ValueError, KeyError) as error:
        bar.say(f"making {path.name} again: {error}")
        path.unlink()
        return False
    return True
