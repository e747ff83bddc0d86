"""Log of one run, metrics.csv: safe to kill at any moment, without gaps or repeats after a resume.

``metrics.csv`` has one row for each value: ``step,views,seconds,name,value``. ``step`` counts optimiser steps done,
``views`` the images seen so far, ``seconds`` the training time so far. pandas makes it wide with
``pivot(index="step", columns="name", values="value")``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.csv"
COLUMNS = ("step", "views", "seconds", "name", "value")


class RunLog:
    """Writer of a run's curves.

    Args:
        folder: the run folder; None (processes other than the first) writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def open(self, step: int) -> None:
        """Drop rows that a killed run wrote after ``step``, and a last line it did not finish."""
        if self.folder is None:
            return
        file = self.folder / METRICS_FILE
        kept = [row for row in _rows(file) if int(row[0]) <= step] if file.is_file() else []
        temporary = file.with_suffix(".tmp")
        temporary.write_text(_lines([COLUMNS, *kept]), encoding="utf-8")
        temporary.replace(file)

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write one row for each value, in a single append.

        Args:
            step: of training.
            views: seen so far.
            seconds: of training so far.
            values: by name.
        """
        if self.folder is None:
            return
        rows = [(step, views, f"{seconds:.3f}", name, repr(float(value))) for name, value in values.items()]
        with (self.folder / METRICS_FILE).open("a", encoding="utf-8", newline="") as file:
            file.write(_lines(rows))


def read_metrics(run_dir: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Read the curves of a run: for each name, its (step, value) pairs in order.

    Raises:
        FileNotFoundError: no metrics.csv in the folder.
    """
    file = Path(run_dir) / METRICS_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"no {METRICS_FILE} in {run_dir}: expected the folder that `equissl pretrain --out` wrote"
        )
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, _, _, name, value in _rows(file):
        curves.setdefault(name, []).append((int(step), float(value)))
    return curves


def seconds_a_step(run_dir: str | Path) -> float:
    """Return the mean seconds of training that a step of a run has taken, over all its starts.

    Raises:
        ValueError: no steps in the log.
    """
    rows = _rows(Path(run_dir) / METRICS_FILE)
    if not rows:
        raise ValueError(f"expected steps in {METRICS_FILE} of {run_dir}, found none")
    return float(rows[-1][2]) / int(rows[-1][0])


def _rows(file: Path) -> list[list[str]]:
    """Return complete rows; the last line counts only when it was ended."""
    text = file.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    rows = list(csv.reader(io.StringIO(complete)))
    if rows and tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{file}: expected the columns {','.join(COLUMNS)}, got {','.join(rows[0])}")
    return [row for row in rows[1:] if len(row) == len(COLUMNS)]


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
