"""The report's charts of a set of runs."""

from __future__ import annotations

from html import escape

import numpy as np

from equissl.reporting.charts import Bar, Series, bar_chart, line_chart
from equissl.reporting.runs import PARTS, Run


def card(title: str, chart: str) -> str:
    """A chart under its title; nothing for no chart."""
    return f'<div class="card"><h3>{escape(title)}</h3>{chart}</div>' if chart else ""


def _part_bars(runs: list[Run], key: str, error: str, scale: float) -> list[Bar]:
    return [
        Bar(
            run.name + suffix,
            run.colour,
            scale * run.results[key.format(part)],
            scale * (run.results.get(error.format(part)) or 0.0),
            faint=part != "all",
        )
        for run in runs
        for part, suffix in PARTS
        if key.format(part) in run.results
    ]


def score_bars(runs: list[Run]) -> str:
    first = runs[0].results
    rotation = _part_bars(runs, "rotation/mean_deg/{}", "rotation/mean_deg_se/{}", 1.0)
    classes = _part_bars(runs, "classification/{}/top1", "classification/{}/top1_se", 100.0)
    return card(
        "Mean rotation error on unseen objects (lower is better)",
        bar_chart(rotation, "°", ("constant predictor", first["rotation/mean_deg/constant"])),
    ) + card(
        "Top-1 accuracy on unseen objects (higher is better)",
        bar_chart(classes, " %", ("chance", 100 * first["classification/chance"])),
    )


def error_curves(runs: list[Run]) -> str:
    series = [Series(run.name, run.colour, cumulative(run.errors["all"])) for run in runs if "all" in run.errors]
    constant = next((run.errors["constant"] for run in runs if "constant" in run.errors), None)
    if series and constant is not None:
        series.append(Series("constant predictor", "var(--soft)", cumulative(constant), dashed=True))
    chart = line_chart(series, "geodesic error (degrees)", "pairs within it (%)", y_zero=True)
    return card("Rotation error on unseen objects: share of pairs within it (higher is better)", chart)


def cumulative(errors: np.ndarray, step: int = 5) -> list[tuple[float, float]]:
    """(degrees, percentage of errors at most that) from 0 to 180 degrees."""
    return [(float(x), 100 * float(np.mean(errors <= x))) for x in range(0, 181, step)]


# title, y axis, the metric in the log, whether the axis starts at zero
CURVES: tuple[tuple[str, str, str, bool], ...] = (
    ("Training loss (each method has its own scale)", "loss relative to its first value", "train/loss", True),
    ("Online rotation probe, on training views", "mean geodesic error (degrees)", "online/rotation_mean_deg", True),
    ("Online class probe, on training views", "top-1 (%)", "online/top1", True),
    ("Effective rank of a batch's features", "RankMe", "collapse/rankme", True),
)


PERCENT = {"online/top1": 100.0, "train/rotation_accuracy": 100.0, "train/contrast_top1": 100.0}


def _points(run: Run, key: str) -> list[tuple[float, float]]:
    """A curve over views seen; the loss as a share of its first value, since methods' losses have no common unit."""
    curve = run.curves.get(key, ())
    seen = next((run.results[k] for k in ("views_seen", "pairs_seen", "sweeps_seen") if run.results.get(k)), 0)
    views_per_step = seen / (run.results.get("steps") or 1) or 1.0
    scale = 1 / abs(curve[0][1]) if key == "train/loss" and curve and curve[0][1] else PERCENT.get(key, 1.0)
    return [(step * views_per_step, scale * value) for step, value in curve]


def training_curves(
    runs: list[Run], curves: tuple[tuple[str, str, str, bool], ...] = CURVES, x_label: str = "views seen"
) -> str:
    """Those of the curves that any run has logged."""
    cards = []
    for title, y_label, key, zero in curves:
        series = [Series(run.name, run.colour, _points(run, key)) for run in runs if key in run.curves]
        cards.append(card(title, line_chart(series, x_label, y_label, zero)))
    return "".join(cards)


def action_gap_curves(runs: list[Run]) -> str:
    """Loss with a wrong action over loss with the right one: 1 means that the predictor ignores the action."""
    series = []
    for run in runs:
        real, ignored = (_points(run, f"collapse/equivariance{suffix}") for suffix in ("", "_ignored_action"))
        ratio = [(x, wrong / right) for (x, right), (_, wrong) in zip(real, ignored, strict=False) if right > 0]
        if ratio:
            series.append(Series(run.name, run.colour, ratio))
    if series:
        first, last = series[0].points[0][0], series[0].points[-1][0]
        series.append(Series("action ignored", "var(--soft)", [(first, 1.0), (last, 1.0)], dashed=True))
    chart = line_chart(series, "views seen", "loss ratio, wrong action / right")
    return card("Does the predictor use the action? (1: it ignores it)", chart)
