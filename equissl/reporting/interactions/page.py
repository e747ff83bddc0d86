"""Page of runs on interactions: table, curves, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.figures import LOSS, RANK, training_curves
from equissl.reporting.interactions.table import BASELINES, baselines, columns
from equissl.reporting.page import budget, listed, run_page
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Table
from equissl.reporting.tiles import best_tile

TITLE = "Sequential recommendation"
SEEN, UNIT = "sequences_seen", "sequences"


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about runs on interactions.

    Args:
        runs: evaluated, in the order they appear.
        store: not read; the page shows no examples.
        title: heading.
    """
    results = [run.results for run in runs]
    top = results[0]["config/top"]
    return run_page(
        "interactions/page.html",
        runs,
        columns(results),
        baselines(results),
        {key: results[0][key] for key in ("store", "users", "items", "interactions")},
        title=title or TITLE,
        setup=_setup(runs),
        tiles=[
            tile
            for name, heading in (("hr", "HR"), ("ndcg", "NDCG"))
            for tile in best_tile(
                runs,
                Column(f"{heading}@{top}", f"test/{name}", 100, digits=2, best="max"),
                unit=" %",
                beside={title: f"{key}/test/{name}" for title, key in BASELINES},
            )
        ],
        curves=training_curves(runs, (LOSS, RANK), SEEN, UNIT),
        diagnostics=Table(DIAGNOSTICS, tuple(collapse_rows(runs)), "features"),
    )


def _setup(runs: Sequence[Run]) -> str:
    found = runs[0].results
    return (
        f"{listed(runs)}, trained on the items of {found['users']:,} users without the last two of each"
        f"{budget(runs, SEEN, UNIT)}. The last item (test) and the one before it (val) are ranked among all "
        f"{found['items']:,} items."
    )
