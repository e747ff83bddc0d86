"""Page of runs on views: rendered views, scores, curves and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from equissl.datasets.views.store.store import ViewStore
from equissl.reporting.blocks import Tile
from equissl.reporting.page import budget, listed, run_page, store_facts
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, Table
from equissl.reporting.views.figures import PARTS, SEEN, UNIT, curves, score_bars
from equissl.reporting.views.pictures import gallery
from equissl.reporting.views.table import baselines, columns
from equissl.runs.results import Results

TITLE = "Equivariant self-supervised learning: what the features hold"
SUPERVISED = "Supervised"  # method that learns from the labels which the others are scored on
REAL, IGNORED = "predictor/equivariance", "predictor/equivariance_ignored_action"
DIAGNOSTICS = (
    Column("RankMe", "collapse/rankme/{}"),
    Column("of dimensions", "collapse/dim/{}", digits=0),
    Column("mean std", "collapse/std/{}", digits=3),
)
ACTION = (
    Column("predictor loss, real action", REAL, digits=4),
    Column("another sample's action", IGNORED, digits=4),
    Column("ratio", "", digits=2),
)


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about runs on views.

    Args:
        runs: evaluated, in the order they appear.
        store: of the gallery's views; the first run's evaluation store where None.
        title: heading.
    """
    results = [run.results for run in runs]
    with closing(ViewStore(store if store is not None else results[0]["store"])) as views:
        return run_page(
            "views/page.html",
            runs,
            columns(results),
            baselines(results),
            store_facts(views.path, views.attributes),
            title=title or TITLE,
            setup=_setup(runs, views),
            tiles=_tiles(runs),
            bars=score_bars(runs),
            curves=curves(runs),
            gallery=gallery(views),
            diagnostics=_diagnostics(runs),
        )


def _setup(runs: Sequence[Run], views: ViewStore) -> str:
    first = runs[0].results
    supervised = any(run.results["method"] == SUPERVISED for run in runs)
    labelled = " Supervised, for comparison, is trained on those labels." if supervised else ""
    scale = "standardised " if first.get("config/standardize") else ""
    return (
        f"{listed(runs)}, pretrained on {first['train_objects']:,} objects of {first['classes']} classes"
        f"{budget(runs, SEEN, UNIT)}. Every object was rendered {views.num_views} times at "
        f"{views.image_size}×{views.image_size} pixels with random rotation ({_rotations(views)}), floor colour and "
        f"light. Then the encoders were frozen: small probes read the class of a view, and the rotation between two, "
        f"from their {scale}features, and are scored on {first['val_objects']:,} objects that neither encoder nor "
        f"probe has seen.{labelled}"
    )


def _rotations(views: ViewStore) -> str:
    ranges = [
        (name[-1], latent)
        for name, latent in zip(views.schema.names, views.schema.latents, strict=True)
        if name.startswith("rotation_") and latent.high > latent.low
    ]
    degrees = {axis: f"{np.degrees(latent.low):.0f}° to {np.degrees(latent.high):.0f}°" for axis, latent in ranges}
    if len(set(degrees.values())) == 1:
        return f"{next(iter(degrees.values()))} about {', '.join(degrees)}"
    return ", ".join(f"{text} about {axis}" for axis, text in degrees.items()) or "none"


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    compared = [run for run in runs if run.results["method"] != SUPERVISED] or runs
    constant = runs[0].results["rotation/mean_deg/constant"]
    text = "the same answer for every pair; what no learning gives"
    return [_nearest(compared, constant), Tile("Constant predictor", f"{constant:.1f}°", text), _sharpest(compared)]


def _nearest(runs: Sequence[Run], constant: float) -> Tile:
    key = "rotation/mean_deg/all"
    run = min(runs, key=lambda run: run.results[key])
    gap = constant - run.results[key]
    text = f"{run.name}, {abs(gap):.1f}° {'below' if gap >= 0 else 'above'} the constant predictor"
    return Tile("Lowest rotation error, all features", f"{run.results[key]:.1f}°", text)


def _sharpest(runs: Sequence[Run]) -> Tile:
    key = "classification/all/top1"
    run = max(runs, key=lambda run: run.results[key])
    top1, chance = run.results[key], runs[0].results["classification/chance"]
    text = f"{run.name}, {top1 / chance:.1f} times chance ({100 * chance:.1f} %)"
    return Tile("Highest top-1, all features", f"{100 * top1:.1f} %", text)


def _diagnostics(runs: Sequence[Run]) -> Table:
    rows = [
        Row(run.name + suffix, _collapse(run.results, part), colour=run.colour)
        for run in runs
        for part, suffix in PARTS
        if f"collapse/rankme/{part}" in run.results
    ]
    return Table((*DIAGNOSTICS, *ACTION), tuple(rows), "features")


def _collapse(results: Results, part: str) -> tuple:
    values = tuple(results[column.key.format(part)] for column in DIAGNOSTICS)
    return (*values, *(_action(results) if part == "all" else (None, None, None)))


def _action(results: Results) -> tuple[float | None, float | None, float | None]:
    """Return the loss of the predictor with the right action, with a wrong one, and their ratio."""
    real, ignored = results.get(REAL), results.get(IGNORED)
    return real, ignored, ignored / real if real and ignored is not None else None
