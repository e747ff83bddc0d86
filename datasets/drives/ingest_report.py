"""Summary of an ingest run, and the checks of its store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from equissl.datasets.drives.checks import CheckReport, check_drives
from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.odometry.job import odometry_line
from equissl.datasets.drives.store.store import DriveStore


@dataclass
class IngestReport:
    """Summary of an ingest run.

    Attributes:
        path: the store.
        drives, sweeps, pairs, boxes: numbers in it.
        problems: what was left out or looks wrong.
        checks: points in boxes, and how well sweeps align; None where they were not asked for.
        odometry: how good the poses of each drive are that were estimated, in words.
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
    odometry: list[str] = field(default_factory=list)
    seconds: float = 0.0
    already_complete: bool = False


def report_of(path: Path, check: bool) -> IngestReport:
    """Summarise a finished store.

    Args:
        path: of the store.
        check: look at a sample of it as well.
    """
    store = DriveStore(path)
    boxes = sum(int(entry.num_boxes[entry.num_boxes > 0].sum()) for entry in store.index.values())
    report = IngestReport(store.path, len(store.names), store.num_sweeps, len(store.pairs()), boxes, store.problems)
    said = {name: entry.attributes.get("odometry") for name, entry in store.index.items()}
    report.odometry = [odometry_line(name, found) for name, found in said.items() if found]
    if check:
        report.checks = check_store(store)
    store.close()
    return report


def check_store(store: DriveStore) -> CheckReport:
    """Check a sample of a store; the store is finished, so that a check that fails is a warning and no error."""
    try:
        return check_drives([store.drive(name) for name in store.names])
    except Exception as error:
        return CheckReport(warnings=[f"the store is whole, but its check failed: {type(error).__name__}: {error}"])
