"""Evaluated run folders, as a page needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.evaluation.views.evaluate import ERRORS
from equissl.reporting.colours import assign_colours
from equissl.reporting.comparable import Joined, comparable
from equissl.reporting.folders import sort_out
from equissl.reporting.seeds import group_seeds, merge_seeds, seedless
from equissl.reporting.table import ROW, names
from equissl.runs.log import read_metrics
from equissl.runs.results import RESULTS_FOLDER, Results
from equissl.util.runfolder import CONFIG_FILE

Curves = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Run:
    """One run folder, or several seeds of one.

    Attributes:
        name: in tables and legends.
        colour: of CSS.
        results: flat; means over seeds, with deviations (see `equissl.reporting.seeds`).
        curves: of the log, by name: (step, value).
        errors: arrays of ``eval.npz``, those of all seeds joined.
        config: YAML.
        folder: of the run, or of the first seed.
        homes: folders of the evaluations' files, the last one of a run first.
    """

    name: str
    colour: str
    results: Results
    curves: Curves
    errors: dict[str, np.ndarray]
    config: str
    folder: Path | None = None
    homes: Sequence[Path] = ()

    def file(self, name: str) -> Path | None:
        """Return a file of the run's evaluation; None where it has none of that name."""
        return next((path for home in self.homes if (path := home / name).is_file()), None)


def load_runs(run_dirs: Sequence[str | Path]) -> list[Run]:
    """Read results, curves and errors of every evaluated run folder; `sort_out` names the others.

    Folders ``NAME/seed0``, ``NAME/seed1`` … become one run called NAME, with the means of all seeds, the errors of all
    seeds, and the curves and configuration of the first. A run that was evaluated on several stores, or with several
    settings, is there once for each, always with the same name and colour.

    Raises:
        ValueError: no folders, or seeds that do not belong together.
        FileNotFoundError: a path that does not exist, or no evaluated run.
    """
    return runs_of(sort_out(run_dirs)[0])


def runs_of(found: Mapping[Path, Sequence[Joined]]) -> list[Run]:
    """Join the evaluations of run folders to runs, see `load_runs`.

    Args:
        found: evaluations by folder, of `sort_out`.

    Raises:
        ValueError: seeds that do not belong together.
    """
    groups = list(group_seeds(list(found)).values())
    rows = [_rows(group, found) for group in groups]
    firsts = names([_named(own[0].results, group, found) for own, group in zip(rows, groups, strict=True)])
    colours = assign_colours(firsts)
    return [
        _load_run(name, colours[name], row, group)
        for name, own, group in zip(firsts, rows, groups, strict=True)
        for row in own
    ]


def _rows(group: Sequence[Path], found: Mapping[Path, Sequence[Joined]]) -> list[Joined]:
    """Return the rows of a run folder, or those of several seeds: of each comparison the evaluations of all seeds."""
    if len(group) == 1:
        name = {} if seedless(group[0]) else {"name": group[0].parent.name}
        return [Joined({**own.results, **name}, own.folders) for own in found[group[0]]]
    each = [comparable((own.results, own) for own in found[folder]) for folder in group]
    ranked = comparable((own.results, (rank, own)) for rows in each for same in rows for rank, own in enumerate(same))
    return [
        _merged([own for place, own in same if place == rank], group[0].parent.name)
        for same in ranked
        for rank in sorted({place for place, _ in same})
    ]


def _merged(rows: Sequence[Joined], name: str) -> Joined:
    folders = tuple(folder for row in rows for folder in row.folders)
    if len(rows) == 1:
        return Joined({**rows[0].results, "name": name}, folders)
    return Joined(merge_seeds([row.results for row in rows], name), folders)


def _named(results: Results, group: Sequence[Path], found: Mapping[Path, object]) -> Results:
    """Return results whose ``run`` tells the folder from others of its name."""
    folder = group[0]
    alike = sum(other.name == folder.name for other in found)
    return {**results, "run": "/".join(folder.parts[-2:])} if alike > 1 and len(group) == 1 else results


def _load_run(name: str, colour: str, row: Joined, group: Sequence[Path]) -> Run:
    folder, config = group[0], group[0] / CONFIG_FILE
    curves = read_metrics(folder) if (folder / "metrics.csv").is_file() else {}
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    results = {**row.results, ROW: name}
    return Run(name, colour, results, curves, _join_errors(row.folders), text, folder, row.folders)


def _join_errors(folders: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the errors of all seeds together; of each one those that were written last."""
    errors: dict[Path, dict[str, np.ndarray]] = {}
    for folder in folders:
        run = folder.parent.parent if folder.parent.name == RESULTS_FOLDER else folder
        if run not in errors and (found := _load_errors(folder)):
            errors[run] = found
    each = list(errors.values())
    parts = [part for part in each[0] if all(part in e for e in each)] if each else []
    return {part: np.concatenate([e[part] for e in each]) for part in parts}


def _load_errors(folder: Path) -> dict[str, np.ndarray]:
    path = folder / ERRORS
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
