"""Table of the signs of collapse: RankMe and deviation of every part of every run's representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equissl.reporting.collapse import DIM, RANKME, STD, parts_of, verdict
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, Value

COLUMNS = (Column("RankMe", RANKME), Column("of dimensions", DIM, digits=0), Column("mean std", STD, digits=3))
SUFFIXES = {"all": "", "initial": " · before training"}  # what the row of a part adds to the run's name


def collapse_rows(runs: Sequence[Run], more: Mapping[str, Sequence[Value]] | None = None, width: int = 0) -> list[Row]:
    """Return a row for every part of every run, with a flag beside the RankMe of a collapsed one.

    Args:
        runs: of the page.
        more: further values of the row of the whole representation, by name of the run.
        width: number of these values; other rows leave their cells empty.
    """
    return [
        _row(run, part, (more or {}).get(run.name, ()) if part == "all" else (), width)
        for run in runs
        for part in parts_of(run.results)
    ]


def _row(run: Run, part: str, more: Sequence[Value], width: int) -> Row:
    values = tuple(run.results.get(column.key + part) for column in COLUMNS)
    word = verdict(run.results, part)
    name = run.name + SUFFIXES.get(part, f" · {part}")
    more = tuple(more) or (None,) * width
    return Row(name, (*values, *more), colour=run.colour, flags={0: word} if word else {})
