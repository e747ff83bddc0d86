"""Results of several runs as a table: columns and baselines come from their kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equissl.reporting.collapse import rank_flags, trained_parts, verdict
from equissl.reporting.seeds import SPREAD
from equissl.runs.results import Results

Value = float | str | None
ROW = "row"  # key of a run's name on a page that shows it in several tables
NAMING = (ROW, "name", "label", "method")
# Keys that tell rows of one name apart, and words before their values.
TELLING = (("run", ""), ("steps", "steps "), ("config/seed", "evaluation seed "))
DECIMALS = 6  # at most; smaller numbers have an exponent


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: above it.
        key: of the results; a text is shown as it is.
        scale: factor to the column's unit.
        digits: decimals.
        best: ``max`` or ``min`` is marked; none where empty.
        error: key of the standard error of a single run.
        significant: ``digits`` counts significant digits, for numbers that differ by orders of magnitude.
    """

    heading: str
    key: str
    scale: float = 1.0
    digits: int = 1
    best: str = ""
    error: str = ""
    significant: bool = False


@dataclass(frozen=True)
class Row:
    """Line of a table; ``baseline`` marks a baseline, ``colour`` is a run's CSS colour.

    ``values`` and ``errors`` have the units of their columns; no errors at all is ``()``. ``flag`` is a warning beside
    the name, ``flags`` those beside the values by place.
    """

    name: str
    values: tuple[Value, ...]
    errors: tuple[float | None, ...] = ()
    baseline: bool = False
    colour: str = ""
    flag: str = ""
    flags: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """Text of a value, text of its error, True for the best of its column, and a warning or none."""

    text: str
    error: str = ""
    best: bool = False
    flag: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows; ``corner`` is the heading of the rows' names."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    corner: str = "method"

    def cells(self, row: Row) -> list[Cell]:
        """Return the cells of one of the rows."""
        errors = row.errors or (None,) * len(row.values)
        places = zip(row.values, errors, self.columns, self._best(), strict=True)
        return [
            Cell(cell(v, c), error_text(e, v, c), not row.baseline and v is not None and v == top, row.flags.get(i, ""))
            for i, (v, e, c, top) in enumerate(places)
        ]

    def _best(self) -> list[float | None]:
        """Return the best value of each column, where two rows or more can be compared."""
        return [self._best_of(index, column.best) for index, column in enumerate(self.columns)]

    def _best_of(self, index: int, best: str) -> float | None:
        found = [value for row in self.rows if not row.baseline and _is_number(value := row.values[index])]
        if len(found) < 2 or not best:
            return None
        return max(found) if best == "max" else min(found)  # type: ignore[type-var, return-value]


def build_table(
    results: Sequence[Results], columns: Sequence[Column], baselines: Iterable[Row] = (), colours: Sequence[str] = ()
) -> Table:
    """Build one row per result, then the baselines.

    Args:
        results: of runs, or merged ones of several seeds.
        columns: of the table.
        baselines: rows of what needs no learning.
        colours: of the runs, if they have any.
    """
    runs = [
        _row(name, result, columns, colour)
        for name, result, colour in zip(names(results), results, colours or [""] * len(results), strict=True)
    ]
    return Table(tuple(columns), (*runs, *baselines))


def _row(name: str, result: Results, columns: Sequence[Column], colour: str) -> Row:
    """Return the row of a run, with a flag where parts of its representation have collapsed."""
    errors = tuple(_error(result, column) for column in columns)
    found = {part: word for part in trained_parts(result) if (word := verdict(result, part))}
    flag = ", ".join(f"{word}: {part}" for part, word in found.items())
    return Row(name, row_values(result, columns), errors, colour=colour, flag=flag, flags=rank_flags(result, columns))


def names(results: Sequence[Results]) -> list[str]:
    """Name the runs: the seeds' folder, the label or the method; with what tells apart those of one name.

    ``row`` is the name on a page, ``name`` the folder of several seeds, ``label`` what the evaluation called the
    method. Runs of one name get their folders, evaluations of one folder their steps or the evaluation's seed.
    """
    found = [str(next(result[key] for key in NAMING if result.get(key))) for result in results]
    for key, word in TELLING:
        values = [result.get(key) for result in results]
        parts = [[v for n, v in zip(found, values, strict=True) if n == name] for name in found]
        found = [
            f"{name} ({word}{value})" if len(set(map(str, same))) > 1 else name
            for name, value, same in zip(found, values, parts, strict=True)
        ]
    return found


def row_values(result: Results, columns: Iterable[Column]) -> tuple[Value, ...]:
    """Return the values of a result in the units of the columns; None where it lacks a key.

    Args:
        result: flat.
        columns: that are read.
    """
    return tuple(_value(result, column) for column in columns)


def by_store(results: Sequence[Results]) -> list[tuple[str, Results]]:
    """Return a result of each store, and the words that tell its baselines from those of other stores."""
    first: dict[str, Results] = {}
    for result in results:
        first.setdefault(str(result["store"]), result)
    return [(f" ({store})" if len(first) > 1 else "", result) for store, result in first.items()]


def distinct_rows(title: str, results: Sequence[Results], columns: Sequence[Column]) -> list[Row]:
    """Return baselines that may differ between runs: one row where they agree, else one for each that differs.

    Args:
        title: of the baseline.
        results: of the runs.
        columns: with the keys of the baseline; an empty key leaves the cell empty.
    """
    found: dict[tuple[Value, ...], str] = {}
    for name, result in zip(names(results), results, strict=True):
        found.setdefault(row_values(result, columns), name)
    return [
        Row(title if len(found) == 1 else f"{title} ({name})", values, baseline=True)
        for values, name in found.items()
        if any(value is not None for value in values)
    ]


def cell(value: Value, column: Column) -> str:
    """Format a value with the column's digits; a dash for none, or one that is not a number.

    Args:
        value: in the column's unit.
        column: that it stands in.
    """
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    return f"{value:#.{column.digits}g}".rstrip(".") if column.significant else f"{value:,.{column.digits}f}"


def error_text(error: float | None, value: Value, column: Column) -> str:
    """Format the text after ±: as many decimals as the value has, or two significant digits of very small ones.

    Args:
        error: standard deviation or error; None gives an empty text.
        value: that it belongs to.
        column: that it stands in.
    """
    if error is None or not _is_number(value):
        return ""
    decimals = column.digits
    if column.significant:
        decimals -= 1 + (math.floor(math.log10(abs(value))) if value else 0)  # type: ignore[arg-type]
    return f"{error:.2g}" if decimals > DECIMALS else f"{error:.{max(decimals, 0)}f}"


def _value(result: Results, column: Column) -> Value:
    return scaled(result.get(column.key), column)


def _error(result: Results, column: Column) -> float | None:
    """Return the standard deviation over seeds, or the standard error of a single run where it is known."""
    return scaled(result.get(SPREAD + column.key if "seeds" in result else column.error), column)


def scaled(value: Any, column: Column) -> Any:
    """Return a value of the results in the unit of a column; texts and None stay as they are.

    Args:
        value: of the results.
        column: that it stands in.
    """
    return value if value is None or isinstance(value, str) else column.scale * value


def _is_number(value: Value) -> bool:
    return value is not None and not isinstance(value, str) and not math.isnan(value)
