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
OWN = _top1("own head %", "head/all")  # of methods that learn from labels
GUESSES = ("majority", "chance")


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Gains are over the encoder before training, on the same images."""
    return (OWN, *COLUMNS) if any(OWN.key in result for result in results) else COLUMNS


def baselines(results: Sequence[Results]) -> list[Row]:
    """Encoders before training, raw pixels, and guesses from the classes alone."""
    shown = columns(results)
    rows = distinct_rows("before training", results, _of_part("initial", shown))
    for suffix, result in by_store(results):
        rows.append(Row(f"raw pixels{suffix}", row_values(result, _of_part("pixels", shown)), baseline=True))
        rows += [_guess(name + suffix, result[name], shown) for name in GUESSES if name in result]
    return [row for row in rows if any(value is not None for value in row.values)]


def _of_part(part: str, shown: Sequence[Column]) -> tuple[Column, ...]:
    """The columns of another part of the features; without gains."""
    return tuple(
        replace(c, key="" if "/gain/" in c.key else c.key.replace("/all", f"/{part}"), error="") for c in shown
    )


def _guess(name: str, accuracy: float, shown: Sequence[Column]) -> Row:
    guessed = (OWN.key, "knn/all/top1", "linear/all/top1")
    return Row(name, tuple(100 * accuracy if c.key in guessed else None for c in shown), baseline=True)
