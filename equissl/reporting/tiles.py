"""Tiles: the best run by a number, and in words what it is compared with and which rows it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equissl.reporting.blocks import Tile
from equissl.reporting.page import best_run
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, cell, scaled


def uncounted(runs: Sequence[Run], key: str, excluded: Mapping[str, str] | None = None) -> str:
    """Return ``; not counted: NAME (reason)`` for the rows that a tile leaves out; empty where it counts all.

    Args:
        runs: of the table.
        key: of the number.
        excluded: reasons why runs are no competitors, by name.
    """
    reasons = {run.name: "not measured" for run in runs if run.results.get(key) is None} | dict(excluded or {})
    listed = [f"{run.name} ({reasons[run.name]})" for run in runs if run.name in reasons]
    return f"; not counted: {', '.join(listed)}" if listed else ""


def best_tile(
    runs: Sequence[Run],
    column: Column,
    heading: str = "",
    unit: str = "",
    beside: Mapping[str, str] | None = None,
    excluded: Mapping[str, str] | None = None,
) -> list[Tile]:
    """Return the tile of the best run, or none where no run has the number.

    Args:
        runs: of the table.
        column: of the number; ``best`` says which is.
        heading: of the tile; made of the column's where empty.
        unit: behind the number.
        beside: keys of numbers of the same run to stand beside it, by their names.
        excluded: reasons why runs are no competitors, by name.
    """
    compared = [run for run in runs if run.name not in (excluded or {})]
    best = best_run(compared, column.key, column.best)
    if best is None:
        return []
    texts = [
        f"{name} {cell(scaled(best.results[key], column), column)}{unit}"
        for name, key in (beside or {}).items()
        if best.results.get(key) is not None
    ]
    heading = heading or f"{'Lowest' if column.best == 'min' else 'Highest'} {column.heading}"
    value = cell(scaled(best.results[column.key], column), column)
    text = "; ".join([best.name, *texts]) + uncounted(runs, column.key, excluded)
    return [Tile(heading, f"{value}{unit}", text)]
