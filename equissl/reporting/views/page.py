"""Page of runs on views: rendered views, scores, curves and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.evaluate import SKIPPED
from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.page import budget, counted, listed, run_page, store_facts
from equissl.reporting.pictures import decoded_pictures
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Table
from equissl.reporting.views.figures import SEEN, UNIT, curves, score_bars
from equissl.reporting.views.pictures import gallery
from equissl.reporting.views.table import baselines, columns
from equissl.reporting.views.tiles import WORDS, protocols_in_words, supervised, tiles
from equissl.runs.results import Results

TITLE = "Equivariant self-supervised learning: what the features hold"
REAL, IGNORED = "predictor/equivariance", "predictor/equivariance_ignored_action"
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
            strips=_strips(views),
            turned=any("rotation/mean_deg/constant" in result for result in results),
            tiles=tiles(runs),
            bars=score_bars(runs),
            curves=curves(runs),
            gallery=gallery(views),
            decoded=decoded_pictures(runs),
            diagnostics=_diagnostics(runs),
        )


def _setup(runs: Sequence[Run], views: ViewStore) -> str:
    first = runs[0].results
    known = supervised(runs)
    verb = "is" if len(known) == 1 else "are"
    labelled = f" {', '.join(known)}, for comparison, {verb} trained on those labels." if known else ""
    scale = "standardised " if first.get("config/standardize") else ""
    read, unseen = protocols_in_words(runs), f"on {first['val_objects']:,} objects that"
    probes = (
        f"small probes read {read} from their {scale}features, learn from {first['train_objects']:,} objects of "
        f"{first['classes']} classes, and are scored {unseen} neither encoder nor probe has seen"
    )
    frozen = probes if read else f"they are scored {unseen} they have not seen"
    return (
        f"{listed(runs)}{budget(runs, SEEN, UNIT)} in pretraining. Every object {_made(views)}. Then the encoders were "
        f"frozen: {frozen}.{labelled}{_skipped(runs)}"
    )


def _skipped(runs: Sequence[Run]) -> str:
    """Say why class or rotation was not measured."""
    reasons = dict.fromkeys(line for run in runs for line in run.results.get(SKIPPED, ()))
    found = [line for line in reasons if line.partition(":")[0] in WORDS]
    return f" Not measured: {'; '.join(found)}." if found else ""


def _made(views: ViewStore) -> str:
    """Say how the views of an object came about: rendered in random poses or one, or made of one image."""
    size, count = f"{views.image_size}×{views.image_size} pixels", views.num_views
    if not _rotated(views):
        return f"has {counted(count, 'view')} of {size}"
    poses = f"with random rotation ({axes})" if (axes := _rotations(views)) else "in one pose"
    return f"was rendered {counted(count, 'time')} at {size} {poses}, floor colour and light drawn at random"


def _strips(views: ViewStore) -> str:
    """Say what a strip of the gallery shows."""
    if not _rotated(views):
        return "Each strip is views of one image."
    poses = "random poses" if _rotations(views) else "one pose"
    return f"Each strip is one object in {poses}, on random floors, under random light."


def _rotated(views: ViewStore) -> bool:
    """Return True for views of objects in poses, and not of images."""
    return any(name.startswith("rotation_") for name in views.schema.names)


def _rotations(views: ViewStore) -> str:
    """Return the range of the poses; empty where there is one."""
    ranges = [
        (name[-1], latent)
        for name, latent in zip(views.schema.names, views.schema.latents, strict=True)
        if name.startswith("rotation_") and latent.high > latent.low
    ]
    degrees = {axis: f"{np.degrees(latent.low):.0f}° to {np.degrees(latent.high):.0f}°" for axis, latent in ranges}
    if len(set(degrees.values())) == 1:
        return f"{next(iter(degrees.values()))} about {', '.join(degrees)}"
    return ", ".join(f"{text} about {axis}" for axis, text in degrees.items())


def _diagnostics(runs: Sequence[Run]) -> Table:
    actions = {run.name: _action(run.results) for run in runs}
    return Table((*DIAGNOSTICS, *ACTION), tuple(collapse_rows(runs, actions, len(ACTION))), "features")


def _action(results: Results) -> tuple[float | None, float | None, float | None]:
    """Return the loss of the predictor with the right action, with a wrong one, and their ratio."""
    real, ignored = results.get(REAL), results.get(IGNORED)
    return real, ignored, ignored / real if real and ignored is not None else None
