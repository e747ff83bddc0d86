"""Table of runs on drives: equivariance errors, relative (0 is exact, 1 as far as unrelated cells), and rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equissl.reporting.table import Column, Row, by_store, distinct_rows, row_values
from equissl.runs.results import Results

COLUMNS = (
    Column("flow error", "equivariance/flow/trained", 1, 3, "min"),
    Column("no motion", "equivariance/flow_no_motion/trained", 1, 3),
    Column("moving", "equivariance/flow_moving/trained", 1, 3, "min"),
    Column("rotation error", "equivariance/rotation/trained", 1, 3),
    Column("shift error", "equivariance/translation/trained", 1, 3, "min"),
    Column("rot. acc. %", "rotation/accuracy", 100, 1, "max"),
    Column("wedge acc. %", "rotation_wedge/accuracy", 100, 1),
    Column("cell RankMe", "collapse/rankme/cells", 1, 1),
)
BEFORE = {"trained": "initial", "accuracy": "initial", "cells": "initial_cells"}


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns, the same for all results."""
    return COLUMNS


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return the encoders before training (one for equal seed and architecture), the cloud's outline, and chance."""
    rows = distinct_rows("before training", results, [_with_leaf(column, BEFORE) for column in COLUMNS])
    for suffix, result in by_store(results):
        for name, leaf in (("outline alone", "outline"), ("chance", "chance")):
            found = [_with_leaf(column, {"accuracy": leaf}) for column in COLUMNS]
            rows.append(Row(name + suffix, row_values(result, found), baseline=True))
    return [row for row in rows if any(value is not None for value in row.values)]


def _with_leaf(column: Column, leaves: dict[str, str]) -> Column:
    """Return the column with another last part of its key; with no key where that part is not among the leaves."""
    stem, _, leaf = column.key.rpartition("/")
    return replace(column, key=f"{stem}/{leaves[leaf]}" if leaf in leaves else "")
