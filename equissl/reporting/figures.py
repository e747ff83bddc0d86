"""Curves of the training logs of several runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equissl.reporting.blocks import Card, cards
from equissl.reporting.charts import Series, line_chart
from equissl.reporting.runs import Run


@dataclass(frozen=True)
class Curve:
    """A metric of the log as a chart; ``relative`` shows it as a share of its first value."""

    title: str
    y_label: str
    key: str
    scale: float = 1.0
    relative: bool = False


LOSS = Curve("Training loss (each method has its own scale)", "loss relative to its first value", "train/loss", 1, True)
RANK = Curve("Effective rank of a batch's features", "RankMe", "collapse/rankme")


def training_curves(runs: Sequence[Run], curves: Iterable[Curve], seen: str, unit: str) -> list[Card]:
    """Draw a chart of each curve that any run has logged.

    Args:
        runs: of the page.
        curves: to draw.
        seen: key of the results that counts what training has seen: ``views_seen``.
        unit: that it counts.
    """
    return cards(*(Card(curve.title, _chart(runs, curve, seen, unit)) for curve in curves))


def points(run: Run, curve: Curve, seen: str) -> list[tuple[float, float]]:
    """Return (seen, value) of a curve of a run; over steps where the run does not know what it has seen.

    Args:
        run: that logged it.
        curve: to read.
        seen: as in `training_curves`.
    """
    logged = run.curves.get(curve.key, ())
    per_step = (run.results.get(seen) or 0) / (run.results.get("steps") or 1) or 1.0
    scale = 1 / abs(logged[0][1]) if curve.relative and logged and logged[0][1] else curve.scale
    return [(step * per_step, scale * value) for step, value in logged]


def _chart(runs: Sequence[Run], curve: Curve, seen: str, unit: str) -> Markup:
    series = [Series(run.name, run.colour, points(run, curve, seen)) for run in runs if curve.key in run.curves]
    return line_chart(series, f"{unit} seen", curve.y_label, y_zero=True)
