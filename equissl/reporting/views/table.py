"""Table of runs on views: classification and relative rotation."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.reporting.table import Column, Row, Value, by_store
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
CONSTANT = "rotation/mean_deg/constant"


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns; ``inv`` and ``equi`` stay empty for methods that do not split their features."""
    return COLUMNS


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return the constant predictor, whose class is the most frequent one of training, and chance, for each store.

    Raises:
        ValueError: results without the scores of the constant predictor.
    """
    rows = []
    for suffix, result in by_store(results):
        rows += [_constant(f"constant predictor{suffix}", result), _chance(f"chance{suffix}", result)]
    return rows


def _constant(name: str, result: Results) -> Row:
    if CONSTANT not in result:
        raise ValueError(f"expected {CONSTANT!r} in the results of {result.get('run')}, it is missing")
    keys = [column.key.rsplit("/", 1)[0] + "/constant" for column in COLUMNS]
    scores: list[Value] = [
        result.get(key) if column.key.endswith("/all") else None for key, column in zip(keys, COLUMNS, strict=True)
    ]
    return Row(name, (100 * result["classification/majority"], *scores[1:]), baseline=True)


def _chance(name: str, result: Results) -> Row:
    return Row(name, (100 * result["classification/chance"], *(None,) * (len(COLUMNS) - 1)), baseline=True)
