"""Page of runs on drives: sweeps, scores, maps of features, curves and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from equissl.datasets.drives.store.store import DriveStore
from equissl.evaluation.drives.equivariance import STANDING, stands
from equissl.reporting.blocks import Card, Tile, cards
from equissl.reporting.charts import Bar, bar_chart
from equissl.reporting.collapse import DIM, RANKME, STD, verdict
from equissl.reporting.drives.pictures import map_pictures, sweep_pictures
from equissl.reporting.drives.table import baselines, columns
from equissl.reporting.figures import LOSS, RANK, Curve, training_curves
from equissl.reporting.page import budget, listed, run_page, store_facts
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, Table
from equissl.reporting.tiles import best_tile, uncounted
from equissl.runs.results import Results

TITLE = "Equivariant LiDAR pretraining: what the features hold"
CURVES = (
    LOSS,
    Curve("Rotation head, on training views", "accuracy (%)", "train/rotation_accuracy", 100),
    Curve("Contrastive matching, on training views", "top-1 (%)", "train/contrast_top1", 100),
    RANK,
)
FLOW = Column("", "equivariance/flow/trained", digits=3, best="min")
TURN = Column("", "rotation/accuracy", 100, 0, "max")
FLOW_BEFORE, SITES = "equivariance/flow/initial", "equivariance/translation_sites/trained"
ROTATION_BESIDE = {"chance": "rotation/chance", "the outline alone": "rotation/outline"}
COLLAPSE = (("whole sweeps", "all", "initial"), ("ground cells", "cells", "initial_cells"))
DIAGNOSTICS = (
    Column("RankMe", ""),
    Column("before", ""),
    Column("of dimensions", "", digits=0),
    Column("mean std", "", digits=3),
    Column("before", "", digits=3),
)
PROVIDERS = {
    "simulated": "exact, from the simulator",
    "boxes": "that of labelled boxes",
    "ego": "that of a static world, from poses alone",
    "none": "none, as the drives have neither flow nor poses",
}


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about runs on drives.

    Args:
        runs: evaluated, in the order they appear.
        store: of the pictures' sweeps; the first run's evaluation store where None.
        title: heading.
    """
    results = [run.results for run in runs]
    maps, angle = map_pictures(runs)
    with closing(DriveStore(store if store is not None else results[0]["store"])) as drives:
        sweeps, arrows = sweep_pictures(runs, drives)
        return run_page(
            "drives/page.html",
            runs,
            columns(results),
            baselines(results),
            store_facts(drives.path, drives.attributes),
            title=title or TITLE,
            setup=_setup(runs, drives),
            tiles=_tiles(runs),
            bars=_bars(runs),
            curves=training_curves(runs, CURVES, "pairs_seen", "pairs of sweeps"),
            sweeps=sweeps,
            arrows=arrows,
            heading=_held_out(results[0])[:1].upper() + _held_out(results[0])[1:],
            standing=standing(runs),
            bins=results[0]["config/bins"],
            maps=maps,
            angle=f"{angle:g}",
            diagnostics=_diagnostics(runs),
        )


def _setup(runs: Sequence[Run], drives: DriveStore) -> str:
    first = runs[0].results
    sources = ", ".join(sorted({entry.dataset or "unnamed" for entry in drives.index.values()}))
    return (
        f"{listed(runs)}, pretrained on {first['train_pairs']:,} pairs of consecutive LiDAR sweeps ({sources})"
        f"{budget(runs, 'pairs_seen', 'pairs')}. Then the encoders were frozen and compared with themselves before "
        f"training, on {first['val_pairs']:,} pairs of {_held_out(first)}, which neither encoder nor probe has seen. "
        f"Flow that features are carried along: {_flow(first)}."
    )


def _held_out(results: Results) -> str:
    return str(results.get("held_out", "unseen drives"))


def standing(runs: Sequence[Run]) -> str:
    """Return a sentence where the car stood in the data of a run; empty elsewhere."""
    named = [run.name for run in runs if stands(run.results)]
    return f"{STANDING} ({', '.join(named)})." if named else ""


def _flow(results: Results) -> str:
    provider = str(results.get("flow_provider") or results["flow"])
    return PROVIDERS.get(provider, provider)


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    still = {run.name: "the car stood" for run in runs if stands(run.results)}
    return [
        *best_tile(runs, FLOW, "Lowest flow-equivariance error", "", {"before training": FLOW_BEFORE}, still),
        *best_tile(runs, TURN, "Highest rotation accuracy", " %", ROTATION_BESIDE),
        *_shift_tile(runs),
    ]


def _shift_tile(runs: Sequence[Run]) -> list[Tile]:
    known = [value for run in runs if (value := run.results.get(SITES)) is not None]
    if not known:
        return []
    exact = "bit for bit" if max(known) == 0 else "largest difference of a feature"
    value = "exact" if max(known) == 0 else f"{max(known):.1e}"
    return [Tile("Voxels shifted by a cell", value, exact + uncounted(runs, SITES))]


def _bars(runs: Sequence[Run]) -> list[Card]:
    moving = [run for run in runs if not stands(run.results)]
    flow = _before_and_after(moving, FLOW.key, FLOW_BEFORE, 1.0)
    rotation = _before_and_after(runs, "rotation/accuracy", "rotation/initial", 100.0)
    seen = next((x for run in runs if (x := run.results.get("rotation/outline")) is not None), None)
    outline = None if seen is None else ("outline alone", 100 * seen)
    return cards(
        Card("Flow-equivariance error (lower is better)", bar_chart(flow, "", None, 3)),
        Card(
            f"Rotation accuracy on {_held_out(runs[0].results)} (higher is better)", bar_chart(rotation, " %", outline)
        ),
    )


def _before_and_after(runs: Sequence[Run], key: str, before: str, scale: float) -> list[Bar]:
    """Create a bar for each run's number and, faint beneath it, the number before training."""
    return [
        Bar(name, run.colour, scale * value, faint=faint)
        for run in runs
        for name, where, faint in ((run.name, key, False), ("before training", before, True))
        if (value := run.results.get(where)) is not None
    ]


def _diagnostics(runs: Sequence[Run]) -> Table:
    rows = [_collapse(run, *settings) for run in runs for settings in COLLAPSE if RANKME + settings[1] in run.results]
    return Table(DIAGNOSTICS, tuple(rows), "features")


def _collapse(run: Run, label: str, part: str, before: str) -> Row:
    keys = (RANKME + part, RANKME + before, DIM + part, STD + part, STD + before)
    words = {place: word for place, of in enumerate((part, before)) if (word := verdict(run.results, of))}
    return Row(f"{run.name} · {label}", tuple(run.results.get(key) for key in keys), colour=run.colour, flags=words)
