"""Page of runs on paired data: table, retrieval strips, curves, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.datasets.paired.open import is_view_store
from equissl.datasets.views.store.store import ViewStore
from equissl.reporting.blocks import Tile
from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.figures import LOSS, RANK, training_curves
from equissl.reporting.page import budget, listed, run_page
from equissl.reporting.paired.pictures import retrieval_strips
from equissl.reporting.paired.table import POSE, baselines, columns
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Table
from equissl.reporting.tiles import best_tile
from equissl.reporting.views.pictures import gallery

TITLE = "Contrast across modalities"
SEEN, UNIT = "objects_seen", "objects"


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about runs on paired data.

    Args:
        runs: evaluated, in the order they appear.
        store: where pictures come from; the first run's evaluation data where None.
        title: heading.
    """
    results = [run.results for run in runs]
    place = Path(store or results[0]["store"])
    views = ViewStore(place) if is_view_store(place) else None
    return run_page(
        "paired/page.html",
        runs,
        columns(results),
        baselines(results),
        {"store": place},
        title=title or TITLE,
        setup=_setup(runs),
        tiles=_tiles(runs),
        curves=training_curves(runs, (LOSS, RANK), SEEN, UNIT),
        gallery=[] if views is None else gallery(views, strips=6),
        strips=[] if views is None else retrieval_strips(runs, views),
        diagnostics=Table(DIAGNOSTICS, tuple(collapse_rows(runs)), "features"),
    )


def _setup(runs: Sequence[Run]) -> str:
    found = runs[0].results
    unseen = (
        f"{found['val_objects']:,} objects with {found['views_per_object']} views each"
        if "val_objects" in found
        else f"{found['val_images']:,} captioned images"
    )
    return (
        f"{listed(runs)}, trained on pairs of modalities of the same objects{budget(runs, SEEN, UNIT)}. Then the "
        f"encoders were frozen; everything is measured on {unseen} that were never trained on."
    )


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    asked: tuple[tuple[Column, str, str, dict[str, str]], ...] = (
        (Column("", "zero_shot/image/top1", 100, best="max"), "Highest zero-shot top-1", " %", {}),
        (Column("", "retrieval/image_to_cloud/r1", 100, best="max"), "Highest R@1, image → cloud", " %", {}),
        (POSE, "Lowest pose error", "°", {"constant answer": "pose/constant_deg"}),
    )
    return [tile for column, heading, unit, beside in asked for tile in best_tile(runs, column, heading, unit, beside)]
