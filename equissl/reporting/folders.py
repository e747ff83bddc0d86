"""Run folders that a report was asked for, and the reasons why some of them are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.reporting.comparable import Joined, join_selections
from equissl.runs.results import RESULTS_FILE, RESULTS_FOLDER, read_evaluations
from equissl.util.runfolder import CONFIG_FILE, LAST


@dataclass(frozen=True)
class LeftOut:
    """A path that has no results, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def sort_out(paths: Sequence[str | Path]) -> tuple[dict[Path, list[Joined]], list[LeftOut]]:
    """Read the evaluations of every run folder, in the order given; name what has none.

    Args:
        paths: of run folders, and what a wildcard gave beside them.

    Returns:
        evaluations by folder, and what is left out.

    Raises:
        ValueError: no paths.
        FileNotFoundError: a path that does not exist, or no folder with results.
    """
    if not paths:
        raise ValueError("expected at least one run folder, got none")
    found: dict[Path, list[Joined]] = {}
    left: list[LeftOut] = []
    for path in dict.fromkeys(map(Path, paths)):
        if reason := why_left_out(path):
            left.append(LeftOut(path, reason))
            continue
        try:
            found[path] = join_selections(read_evaluations(path))
        except ValueError as error:
            left.append(LeftOut(path, str(error)))
    if not found:
        listed = "\n  ".join(map(str, left))
        raise FileNotFoundError(f"expected evaluated runs (equissl evaluate RUN), got none:\n  {listed}")
    return found, left


def why_left_out(path: Path) -> str:
    """Return the reason why there is nothing to report of a path; empty where there are results.

    Raises:
        FileNotFoundError: no such path.
    """
    if not path.exists():
        raise FileNotFoundError(f"expected a run folder, got {path}, which does not exist")
    if not path.is_dir():
        return "a file, not a run folder"
    if (path / RESULTS_FILE).is_file() or any(path.glob(f"{RESULTS_FOLDER}/*/{RESULTS_FILE}")):
        return ""
    if (path / LAST).is_file():
        return f"not evaluated; do it with: equissl evaluate {path}"
    if (path / CONFIG_FILE).is_file():
        return "no checkpoint: its training failed before the first one, or has not come to it"
    return "not a run folder: neither results nor a checkpoint are in it"
