"""Table of runs on images: k-NN and linear accuracy of frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equissl.reporting.seeds import Results
from equissl.reporting.table import Column, Row, by_store, distinct_rows, row_values


def _top1(heading: str, group: str, best: str = "max") -> Column:
    return Column(heading, f"{group}/top1", 100, 1, best, f"{group}/top1_se")


COLUMNS = (
    _top1("k-NN %", "knn/all"),
    _top1("gain", "knn/gain"),
    _top1("linear %", "linear/all"),
    _top1("gain", "linear/gain"),
    Column("linear top-5 %", "linear/all/top5", 100, 1, "max"),
    Column("RankMe", "collapse/rankme/all", 1, 1),
)
GUESSES = ("majority", "chance")


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Gains are over the encoder before training, on the same images."""
    return COLUMNS


def baselines(results: Sequence[Results]) -> list[Row]:
    """Encoders before training, raw pixels, and guesses from the classes alone."""
    rows = distinct_rows("before training", results, _of_part("initial"))
    for suffix, result in by_store(results):
        rows.append(Row(f"raw pixels{suffix}", row_values(result, _of_part("pixels")), baseline=True))
        rows += [_guess(name + suffix, result[name]) for name in GUESSES if name in result]
    return [row for row in rows if any(value is not None for value in row.values)]


def _of_part(part: str) -> tuple[Column, ...]:
    """The columns of another part of the features; without gains."""
    return tuple(
        replace(c, key="" if "/gain/" in c.key else c.key.replace("/all", f"/{part}"), error="") for c in COLUMNS
    )


def _guess(name: str, accuracy: float) -> Row:
    values = [100 * accuracy if c.key in ("knn/all/top1", "linear/all/top1") else None for c in COLUMNS]
    return Row(name, tuple(values), baseline=True)
