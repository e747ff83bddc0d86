"""Charts of runs on views: scores of every part of the features, errors, and the use of the action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equissl.reporting.blocks import Card, cards
from equissl.reporting.charts import Bar, Series, bar_chart, line_chart
from equissl.reporting.collapse import trained_parts
from equissl.reporting.colours import SOFT
from equissl.reporting.figures import LOSS, RANK, Curve, points, training_curves
from equissl.reporting.runs import Run
from equissl.reporting.seeds import SPREAD

FIRST = ("all", "inv", "equi", "embedding")  # parts in the order of their bars; others come after them
SEEN, UNIT = "views_seen", "views"
CURVES = (
    LOSS,
    Curve("Online rotation probe, on training views", "mean geodesic error (degrees)", "online/rotation_mean_deg"),
    Curve("Online class probe, on training views", "top-1 (%)", "online/top1", 100),
    RANK,
)
REAL, IGNORED = (Curve("", "", f"collapse/equivariance{suffix}") for suffix in ("", "_ignored_action"))


def score_bars(runs: Sequence[Run]) -> list[Card]:
    """Draw rotation error and top-1 accuracy of every part of every run's features."""
    first = {key: value for run in reversed(runs) for key, value in run.results.items()}
    rotation = _part_bars(runs, "rotation/mean_deg/{}", "rotation/mean_deg_se/{}", 1.0)
    classes = _part_bars(runs, "classification/{}/top1", "classification/{}/top1_se", 100.0)
    constant = _reference("constant predictor", first.get("rotation/mean_deg/constant"), 1.0)
    chance = _reference("chance", first.get("classification/chance"), 100.0)
    return cards(
        Card(
            "Mean rotation error on unseen objects (lower is better)",
            bar_chart(rotation, "°", constant),
        ),
        Card("Top-1 accuracy on unseen objects (higher is better)", bar_chart(classes, " %", chance)),
    )


def curves(runs: Sequence[Run]) -> list[Card]:
    """Draw errors over pairs, the use of the action, and the curves that training logged."""
    return cards(_error_curves(runs), _action_gap(runs)) + training_curves(runs, CURVES, SEEN, UNIT)


def cumulative(errors: np.ndarray, step: int = 5) -> list[tuple[float, float]]:
    """Return (degrees, percentage of errors at most that) from 0 to 180 degrees.

    Args:
        errors: (N,) degrees.
        step: degrees between points.
    """
    return [(float(x), 100 * float(np.mean(errors <= x))) for x in range(0, 181, step)]


def _reference(name: str, value: float | None, scale: float) -> tuple[str, float] | None:
    return None if value is None else (name, scale * value)


def _parts(run: Run) -> list[str]:
    return [*FIRST, *(part for part in trained_parts(run.results) if part not in FIRST)]


def _part_bars(runs: Sequence[Run], key: str, error: str, scale: float) -> list[Bar]:
    return [
        Bar(
            run.name + ("" if part == "all" else f" · {part}"),
            run.colour,
            scale * run.results[key.format(part)],
            scale * (run.results.get(SPREAD + key.format(part) if "seeds" in run.results else error.format(part)) or 0),
            faint=part != "all",
        )
        for run in runs
        for part in _parts(run)
        if run.results.get(key.format(part)) is not None
    ]


def _error_curves(runs: Sequence[Run]) -> Card:
    series = [Series(run.name, run.colour, cumulative(run.errors["all"])) for run in runs if "all" in run.errors]
    constant = next((run.errors["constant"] for run in runs if "constant" in run.errors), None)
    if series and constant is not None:
        series.append(Series("constant predictor", SOFT, cumulative(constant), dashed=True))
    chart = line_chart(series, "geodesic error (degrees)", "pairs within it (%)", y_zero=True)
    return Card("Rotation error on unseen objects: share of pairs within it (higher is better)", chart)


def _action_gap(runs: Sequence[Run]) -> Card:
    """Return the loss with a wrong action over that with the right one; 1 where the predictor ignores the action."""
    found = [Series(run.name, run.colour, _loss_ratio(run)) for run in runs]
    series = [line for line in found if line.points]
    if series:
        first, last = series[0].points[0][0], series[0].points[-1][0]
        series.append(Series("action ignored", SOFT, [(first, 1.0), (last, 1.0)], dashed=True))
    chart = line_chart(series, "views seen", "loss ratio, wrong action / right")
    return Card("Does the predictor use the action? (1: it ignores it)", chart)


def _loss_ratio(run: Run) -> list[tuple[float, float]]:
    real, ignored = points(run, REAL, SEEN), points(run, IGNORED, SEEN)
    return [(x, wrong / right) for (x, right), (_, wrong) in zip(real, ignored, strict=False) if right > 0]
