"""Page of detectors: table, average precision over labels, pictures and curves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import yaml

from equissl.datasets.drives.store.store import DriveStore
from equissl.reporting.blocks import Card, Tile, cards
from equissl.reporting.charts import Series, line_chart
from equissl.reporting.colours import assign_colours
from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.figures import Curve, training_curves
from equissl.reporting.page import counted, run_page, store_facts
from equissl.reporting.runs import Run
from equissl.reporting.sweeps.examples import detection_pictures
from equissl.reporting.sweeps.pictures import SURE
from equissl.reporting.sweeps.table import baselines, columns
from equissl.reporting.table import Column, Table
from equissl.reporting.tiles import best_tile

TITLE = "3D detection from pretrained LiDAR backbones"
MEAN = "detection/mean/3d_ap"
CURVES = (
    Curve("Training loss", "loss relative to its first value", "train/loss", relative=True),
    Curve("Loss of the boxes, on training sweeps", "loss", "train/box"),
)


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about detectors.

    Args:
        runs: evaluated, in the order they appear.
        store: of the pictures' sweeps; each run's evaluation store where None.
        title: heading.
    """
    results = [run.results for run in runs]
    with closing(DriveStore(store if store is not None else results[0]["store"])) as drives:
        return run_page(
            "sweeps/page.html",
            runs,
            columns(results),
            baselines(results),
            store_facts(drives.path, drives.attributes),
            title=title or TITLE,
            setup=_setup(runs),
            tiles=_tiles(runs),
            bars=_over_labels(runs),
            curves=training_curves(runs, CURVES, "sweeps_seen", "labelled sweeps"),
            overlaps=_overlaps(runs[0]),
            sure=SURE,
            found=[detection_pictures(run, store) for run in runs],
            diagnostics=Table(DIAGNOSTICS, tuple(collapse_rows(runs)), "features"),
        )


def _setup(runs: Sequence[Run]) -> str:
    first = runs[0].results
    counts = {name: int(first.get(f"detection/{name.lower()}/labels") or 0) for name in first["classes"]}
    objects = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    scored = counted(first["val_sweeps"], "held-out sweep")
    return f"{counted(len(runs), 'detector')}, scored on {scored} of {first['store']} ({objects})."


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    return best_tile(runs, Column("", MEAN, best="max"), "Highest mean 3D AP")


def _overlaps(run: Run) -> str:
    """Return the overlap from which a detection is right, of every class."""
    classes = yaml.safe_load(run.config)["method"]["init_args"]["classes"]
    return ", ".join(f"{entry['name']} {entry['overlap']:g}" for entry in classes)


def _over_labels(runs: Sequence[Run]) -> list[Card]:
    """Draw a line for each starting point, where detectors with different numbers of labels are among the runs."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        value, labels = run.results.get(MEAN), run.results.get("labelled_sweeps")
        if value is not None and labels is not None:
            lines.setdefault(str(run.results.get("start", run.name)), []).append((float(labels), value))
    if len({x for line in lines.values() for x, _ in line}) < 2:
        return []
    colours = assign_colours(lines)
    series = [Series(name, colours[name], sorted(line)) for name, line in lines.items()]
    chart = line_chart(series, "labelled sweeps", "mean 3D AP", y_zero=True)
    return cards(Card("Mean 3D average precision over the labels used", chart, series))
