"""Charts of runs on images: accuracy overall and of each class, and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from equissl.evaluation.images.evaluate import PREDICTIONS
from equissl.evaluation.images.scores import confusion
from equissl.reporting.blocks import Card, cards
from equissl.reporting.charts import Bar, bar_chart
from equissl.reporting.figures import LOSS, RANK, Curve, training_curves
from equissl.reporting.runs import Run
from equissl.reporting.seeds import SPREAD
from equissl.reporting.table import Column, Row, Table

SEEN, UNIT = "images_seen", "images"
CURVES = (LOSS, Curve("Online class probe, on training views", "top-1 (%)", "online/top1", 100), RANK)
GROUPS = {"knn": "k-NN", "linear": "Linear probe"}
PARTS = (
    ("all", ""),
    ("decoder", " · decoder"),
    ("initial", " · before"),
)  # part, and what its bars add to the run's name
PAIRS = 8  # confusions shown of each run


def score_bars(runs: Sequence[Run]) -> list[Card]:
    """Accuracy of every run's features, before and after training, and a table line for guesses."""
    chance = runs[0].results.get("chance")
    reference = None if chance is None else ("chance", 100 * chance)
    return cards(
        *(
            Card(
                f"{title}: top-1 on unseen images (higher is better)",
                bar_chart(_bars(runs, group), " %", reference),
            )
            for group, title in GROUPS.items()
        )
    )


def class_bars(runs: Sequence[Run], most: int = 20) -> list[Card]:
    """Accuracy of the linear probe on each class; of the first ``most`` where there are more.

    Args:
        runs: of the page.
        most: classes shown.
    """
    every = class_names(runs[0])
    names, title = every[:most], "linear probe by class"
    if len(every) > most:
        title += f" (first {most} of {len(every)})"
    found = [Card(f"{run.name}: {title}", bar_chart([_class_bar(run, name) for name in names], " %")) for run in runs]
    return cards(*found)


def curves(runs: Sequence[Run]) -> list[Card]:
    """Draw the curves that training logged."""
    return training_curves(runs, CURVES, SEEN, UNIT)


def class_names(run: Run) -> list[str]:
    """Classes that the run was scored on, in alphabetical order."""
    keys = (key for key in run.results if key.startswith("class/") and key.endswith("/top1"))
    return sorted(key[len("class/") : -len("/top1")] for key in keys)


def confusions(run: Run) -> Table | None:
    """The most frequent confusions of the linear probe; None for a run without predictions, or without an error.

    Args:
        run: of one seed, or of several: the first.
    """
    file = run.file(PREDICTIONS)
    if file is None:
        return None
    with np.load(file) as arrays:
        named, labels = (torch.from_numpy(arrays[name]) for name in ("linear", "labels"))
        classes = arrays["classes"].tolist()
    counts = confusion(named, labels, len(classes))
    totals = counts.sum(1).clamp_min(1)
    wrong = [(int(counts[a, b]), a, b) for a, b in product(range(len(classes)), repeat=2) if a != b and counts[a, b]]
    rows = [
        Row(f"{classes[a]} named {classes[b]}", (count, 100 * count / float(totals[a])), colour=run.colour)
        for count, a, b in sorted(wrong, reverse=True)[:PAIRS]
    ]
    shown = (Column("images", "", digits=0), Column("% of the class", ""))
    return Table(shown, tuple(rows), run.name) if rows else None


def _bars(runs: Sequence[Run], group: str) -> list[Bar]:
    return [
        Bar(
            run.name + suffix,
            run.colour,
            100 * run.results[key],
            100 * (run.results.get(SPREAD + key if "seeds" in run.results else f"{key}_se") or 0.0),
            faint=part != "all",
        )
        for run, (part, suffix) in product(runs, PARTS)
        if (key := f"{group}/{part}/top1") in run.results
    ]


def _class_bar(run: Run, name: str) -> Bar:
    return Bar(name, run.colour, 100 * (run.results.get(f"class/{name}/top1") or 0.0))
