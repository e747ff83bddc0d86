"""Evaluated run folders, as a page needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.reporting.colours import assign_colours
from equissl.reporting.seeds import group_seeds, merge_seeds, seedless
from equissl.reporting.table import names
from equissl.runs.log import read_metrics
from equissl.runs.results import Results, read_results

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
    """

    name: str
    colour: str
    results: Results
    curves: Curves
    errors: dict[str, np.ndarray]
    config: str
    folder: Path | None = None

    def file(self, name: str) -> Path | None:
        """Return a file of the run's folder; None where it has none of that name."""
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None


def load_runs(run_dirs: Sequence[str | Path]) -> list[Run]:
    """Read results, curves and errors of every run folder.

    Folders ``NAME/seed0``, ``NAME/seed1`` … become one run called NAME, with the means of all seeds, the errors of all
    seeds, and the curves and configuration of the first.

    Raises:
        ValueError: no folders, or seeds that do not belong together.
        FileNotFoundError: a folder without results.json; names the command that makes it.
    """
    if not run_dirs:
        raise ValueError("expected at least one run folder, got none")
    groups = list(group_seeds([Path(folder) for folder in run_dirs]).values())
    results = [load_results(group) for group in groups]
    found = names(results)
    colours = assign_colours(found)
    return [
        _load_run(name, colours[name], result, group)
        for name, result, group in zip(found, results, groups, strict=True)
    ]


def load_results(group: Sequence[Path]) -> Results:
    """Load results of one run folder, or the merged ones of several seeds."""
    results = [read_results(folder) for folder in group]
    if len(results) > 1:
        return merge_seeds(results, group[0].parent.name)
    return results[0] if seedless(group[0]) else {**results[0], "name": group[0].parent.name}


def _load_run(name: str, colour: str, results: Results, group: Sequence[Path]) -> Run:
    folder, config = group[0], group[0] / "config.yaml"
    curves = read_metrics(folder) if (folder / "metrics.csv").is_file() else {}
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return Run(name, colour, results, curves, _join_errors(group), text, folder)


def _join_errors(group: Sequence[Path]) -> dict[str, np.ndarray]:
    errors = [_load_errors(folder) for folder in group]
    return {part: np.concatenate([e[part] for e in errors]) for part in errors[0] if all(part in e for e in errors)}


def _load_errors(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "eval.npz"
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
