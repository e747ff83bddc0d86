"""Table of runs on videos: errors of predictions or accuracy, and equivariance errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equissl.reporting.table import Column, Row, distinct_rows
from equissl.runs.results import Results

MODEL = Column("model", "label")


def _error(heading: str, key: str, best: str = "min") -> Column:
    return Column(heading, key, digits=3, best=best, significant=True)


def _accuracy(heading: str, key: str) -> Column:
    return Column(heading, key, 100, best="max")


COLUMNS = (
    Column("parameters", "parameters", digits=0),
    Column("steps", "steps", digits=0),
    _error("next MSE", "prediction/next_mse"),
    _error("roll-out MSE", "rollout/mse"),
    _error("beyond", "rollout/mse_beyond"),
    _error("last/trained", "rollout/last_over_trained", best=""),
    _error("seen v", "velocity/mse_seen"),
    _error("unseen v", "velocity/mse_unseen"),
    _error("state error", "equivariance/states", best=""),
    _accuracy("top-1 %", "classification/top1"),
    _accuracy("longer", "classification/top1_beyond"),
    _accuracy("top-1 % seen v", "velocity/top1_seen"),
    _accuracy("top-1 % unseen v", "velocity/top1_unseen"),
)
BASELINES = (
    ("copy of the last frame", {"prediction/next_mse": "prediction/copy_mse"}),
    ("mean of all pixels", {"prediction/next_mse": "prediction/mean_mse"}),
    ("chance", {"classification/top1": "classification/chance"}),
)


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns that any of the results has; the model first, where runs are called by their folders."""
    model = (MODEL,) if any("name" in result for result in results) else ()
    return (*model, *(column for column in COLUMNS if any(column.key in result for result in results)))


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return predictors that repeat the last frame or give every pixel the mean, and chance, by sort of videos."""
    shown = columns(results)
    return [
        row
        for title, keys in BASELINES
        if (having := [result for result in results if any(key in result for key in keys.values())])
        for row in distinct_rows(title, having, [replace(c, key=keys.get(c.key, "")) for c in shown])
    ]
