"""Table of runs on views: classification and relative rotation, and every protocol that was asked for by name."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.reporting.table import Column, Row, Value, by_store, scaled
from equissl.reporting.views.measures import Measured, group_of, holds, measured
from equissl.runs.results import Results

COLUMNS = (
    Column("top-1 %", "classification/all/top1", 100, 1, "max", "classification/all/top1_se"),
    Column("top-1 % inv", "classification/inv/top1", 100, 1, "max", "classification/inv/top1_se"),
    Column("rot. mean °", "rotation/mean_deg/all", 1, 1, "min", "rotation/mean_deg_se/all"),
    Column("mean ° equi", "rotation/mean_deg/equi", 1, 1, "min", "rotation/mean_deg_se/equi"),
    Column("median °", "rotation/median_deg/all", 1, 1, "min"),
    Column("R² uniform", "rotation/r2_uniform/all", 1, 3, "max"),
    Column("R² global", "rotation/r2_global/all", 1, 3, "max"),
)
OWN = Column("own head %", "head/all/top1", 100, 1, "max", "head/all/top1_se")  # of methods that learn from labels
CONSTANT = "rotation/mean_deg/constant"


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns of class and relative rotation, and of other protocols that were asked for by name.

    ``inv`` and ``equi`` stay empty for methods that do not split their features. Other parts have columns where they
    were asked for by name. A protocol that no run was scored on has no column; where there is neither class nor
    rotation, every other one has.
    """
    return tuple(entry.column for entry in _entries(results))


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return the constant predictor, whose class is the most frequent one of training, and chance, for each store.

    Raises:
        ValueError: rotation errors without those of the constant predictor.
    """
    entries = _entries(results)
    rows = []
    for suffix, result in by_store(results):
        if "rotation/mean_deg/all" in result and CONSTANT not in result:
            raise ValueError(f"expected {CONSTANT!r} in the results of {result.get('run')}, it is missing")
        constant = [_value(result, entry.constant, entry.column) for entry in entries]
        chance = [_value(result, entry.chance, entry.column) for entry in entries]
        rows += [(f"constant predictor{suffix}", constant), (f"chance{suffix}", chance)]
    return [Row(name, tuple(values), baseline=True) for name, values in rows if any(v is not None for v in values)]


def _entries(results: Sequence[Results]) -> list[Measured]:
    usual = (OWN, *COLUMNS)
    shown = {group_of(column) for column in usual if _whole(column) and holds(results, column.key)}
    main = [_main(column) for column in (*usual, *_asked(results)) if group_of(column) in shown]
    if main and all(result.get("config/protocols") is None for result in results):
        return main
    return main + [entry for entry in measured(results) if group_of(entry.column) not in shown]


def _asked(results: Sequence[Results]) -> list[Column]:
    """Return columns of class and rotation of the parts that were asked for by name and have none."""
    asked = dict.fromkeys(part for result in results for part in result.get("config/parts") or ())
    usual, columns = {column.key for column in COLUMNS}, [column for part in asked for column in _of_part(part)]
    return [column for column in columns if column.key not in usual and holds(results, column.key)]


def _of_part(part: str) -> tuple[Column, Column]:
    top1 = f"classification/{part}/top1"
    return (
        Column(f"top-1 % {part}", top1, 100, 1, "max", f"{top1}_se"),
        Column(f"mean ° {part}", f"rotation/mean_deg/{part}", 1, 1, "min", f"rotation/mean_deg_se/{part}"),
    )


def _whole(column: Column) -> bool:
    """Return True for a column of the whole representation."""
    return "all" in column.key.split("/")


def _main(column: Column) -> Measured:
    """Return a column of class or rotation with its baselines; those of the parts have none."""
    if not _whole(column):
        return Measured(column)
    if group_of(column) in ("classification", "head"):
        return Measured(column, "classification/majority", "classification/chance")
    return Measured(column, column.key.replace("/all", "/constant"))


def _value(result: Results, key: str, column: Column) -> Value:
    return scaled(result.get(key), column)
