"""Page of runs on drives: sweeps, scores, maps of features, curves and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from equissl.datasets.drives.store.store import DriveStore
from equissl.evaluation.drives.equivariance import STANDING, stands
from equissl.reporting.blocks import Card, Tile, cards
from equissl.reporting.charts import Bar, bar_chart
from equissl.reporting.drives.pictures import map_pictures, scene_pictures
from equissl.reporting.drives.table import baselines, columns
from equissl.reporting.figures import LOSS, RANK, Curve, training_curves
from equissl.reporting.page import best_run, budget, listed, run_page, store_facts
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, Table
from equissl.runs.results import Results

TITLE = "Equivariant LiDAR pretraining: what the features hold"
CURVES = (
    LOSS,
    Curve("Rotation head, on training views", "accuracy (%)", "train/rotation_accuracy", 100),
    Curve("Contrastive matching, on training views", "top-1 (%)", "train/contrast_top1", 100),
    RANK,
)
COLLAPSE = (("whole scenes", "all", "initial"), ("ground cells", "cells", "initial_cells"))
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
        scenes, arrows = scene_pictures(runs, drives)
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
            scenes=scenes,
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
    return [*_flow_tile(runs), *_rotation_tile(runs), _shift_tile(runs)]


def _flow_tile(runs: Sequence[Run]) -> list[Tile]:
    key, before = "equivariance/flow/trained", "equivariance/flow/initial"
    best = best_run([run for run in runs if not stands(run.results)], key, "min")
    if best is None:
        return []
    was = best.results.get(before)
    text = best.name if was is None else f"{best.name}, was {was:.3f} before training"
    return [Tile("Lowest flow-equivariance error", f"{best.results[key]:.3f}", text)]


def _rotation_tile(runs: Sequence[Run]) -> list[Tile]:
    key = "rotation/accuracy"
    best = best_run(runs, key, "max")
    if best is None:
        return []
    chance, outline = (100 * best.results[f"rotation/{name}"] for name in ("chance", "outline"))
    text = f"{best.name}; chance {chance:.0f} %, the outline alone {outline:.0f} %"
    return [Tile("Highest rotation accuracy", f"{100 * best.results[key]:.0f} %", text)]


def _shift_tile(runs: Sequence[Run]) -> Tile:
    sites = max((run.results.get("equivariance/translation_sites/trained") or 0.0) for run in runs)
    exact = "bit for bit" if sites == 0 else "largest difference of a feature"
    return Tile("Voxels shifted by a cell", "exact" if sites == 0 else f"{sites:.1e}", exact)


def _bars(runs: Sequence[Run]) -> list[Card]:
    moving = [run for run in runs if not stands(run.results)]
    flow = _before_and_after(moving, "equivariance/flow/trained", "equivariance/flow/initial", 1.0)
    rotation = _before_and_after(runs, "rotation/accuracy", "rotation/initial", 100.0)
    outline = ("outline alone", 100 * runs[0].results["rotation/outline"])
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
    rows = [
        Row(f"{run.name} · {label}", _collapse(run.results, part, before), colour=run.colour)
        for run in runs
        for label, part, before in COLLAPSE
    ]
    return Table(DIAGNOSTICS, tuple(rows), "features")


def _collapse(results: Results, part: str, before: str) -> tuple[float, ...]:
    keys = (f"rankme/{part}", f"rankme/{before}", f"dim/{part}", f"std/{part}", f"std/{before}")
    return tuple(results[f"collapse/{key}"] for key in keys)
