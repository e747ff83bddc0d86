"""What the report needs of run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equissl.reporting import table
from equissl.reporting.seeds import group_seeds, merge_seeds, seedless
from equissl.reporting.style import assign_colours

Curves = Mapping[str, Sequence[tuple[float, float]]]
PARTS = (("all", ""), ("inv", " · inv"), ("equi", " · equi"))  # part, and what its rows and bars are called


@dataclass(frozen=True)
class Run:
    """What the page needs of one run folder; of several seeds, ``folder`` is the first's."""

    name: str
    colour: str
    results: dict[str, Any]
    curves: Curves
    errors: dict[str, np.ndarray]
    config: str
    folder: Path | None = None


def load_runs(run_dirs: Sequence[str | Path]) -> list[Run]:
    """Reads results, curves and errors of every run folder.

    Folders ``NAME/seed0``, ``NAME/seed1`` … become one run called NAME, with the means of all seeds, the errors of all
    seeds, and the curves and configuration of the first.
    """
    if not run_dirs:
        raise ValueError("expected at least one run folder, got none")
    folders = [Path(folder) for folder in run_dirs]
    for folder in folders:
        if not (folder / "results.json").is_file():
            raise FileNotFoundError(f"{folder} holds no results.json; make it with: equissl evaluate {folder}")
    groups = list(group_seeds(folders).values())
    results = [load_results(group) for group in groups]
    names = table.names(results)
    colours = assign_colours(names)
    return [
        Run(
            name,
            colours[name],
            result,
            _load_curves(group[0]),
            _join_errors(group),
            _read(group[0] / "config.yaml"),
            group[0],
        )
        for name, result, group in zip(names, results, groups, strict=True)
    ]


def load_results(group: Sequence[Path]) -> dict[str, Any]:
    """Results of one run folder, or the merged ones of several seeds."""
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in group]
    if len(results) > 1:
        return merge_seeds(results, group[0].parent.name)
    return results[0] if seedless(group[0]) else {**results[0], "label": group[0].parent.name}


def _join_errors(group: Sequence[Path]) -> dict[str, np.ndarray]:
    errors = [_load_errors(folder) for folder in group]
    return {part: np.concatenate([e[part] for e in errors]) for part in errors[0] if all(part in e for e in errors)}


def _load_curves(folder: Path) -> Curves:
    from equissl.training import read_metrics

    return read_metrics(folder) if (folder / "metrics.csv").is_file() else {}


def _load_errors(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "eval.npz"
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
