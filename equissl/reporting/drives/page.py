"""The report of runs on driving scenes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from equissl.datasets.drives.store.store import DriveStore
from equissl.reporting.charts import Bar, bar_chart
from equissl.reporting.drives.pictures import map_figures, sweep_figures
from equissl.reporting.figures import card, training_curves
from equissl.reporting.report import configs, legend, results_table, table_card, tile_row
from equissl.reporting.runs import Run
from equissl.reporting.seeds import Results
from equissl.reporting.style import STYLE

CURVES = (
    ("Training loss (each method has its own scale)", "loss relative to its first value", "train/loss", True),
    ("Rotation head, on training views", "accuracy (%)", "train/rotation_accuracy", True),
    ("Contrastive matching, on training views", "top-1 (%)", "train/contrast_top1", True),
    ("Effective rank of a batch's features", "RankMe", "collapse/rankme", True),
)
COLLAPSE = (("whole scenes", "all", "initial"), ("ground cells", "cells", "initial_cells"))

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>$title</title><style>$style
.maps{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));margin:.8rem 0 1.4rem}
.maps figure{margin:0}.maps img{width:100%;display:block;border-radius:8px}.maps figcaption b{color:var(--ink)}
.scenes{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
</style></head><body><main>
<h1>$title</h1>
<p>$setup</p>
<div class="tiles">$tiles</div>
<h2>Drives that no method has seen</h2>
<p class="note">Seen from above, the car's front up, a ring every 10 m. Points are coloured by height, from the road
(dark) to roofs and crowns (yellow); boxes are labels, with a line to the front; $arrows</p>
<div class="maps scenes">$scenes</div>
<h2>Results</h2>
<p class="note">Errors compare a cell's features with those that should have moved there, relative to unrelated cells of
the same scenes: 0 is exact, 1 is as far as unrelated cells. <b>Flow</b>: the next sweep, features carried along scene
flow; <b>no motion</b> is the same without carrying them, <b>moving</b> the cells that moving things came to.
<b>Rotation</b>: the scene turned; a map that writes its orientation into each cell has an error here, and is not worse
for it. <b>Shift</b>: the scene moved by one cell. <b>Rot. acc.</b>: a linear probe names the turn of a whole unseen
scene, one of $bins classes; with the <b>wedge</b> the scene was cropped to the front before it was turned, so that its
edges show the angle: what is gained there is a shortcut.</p>
$table
<div class="grid charts">$bars</div>
$maps
<h2>Curves</h2>
$legend
<div class="grid">$curves</div>
<h2>Is anything collapsed?</h2>
<p class="note">RankMe is the number of directions that the features really use; std is the mean deviation of a feature.
Both fall when an encoder gives the same answer to everything, which would be equivariant and useless.</p>
$diagnostics
<h2>Configuration</h2>
$configs
</main></body></html>
"""
MAPS = """<h2>Maps of features</h2>
<p class="note">The three strongest components of each ground cell's features as red, green and blue. Left of each pair:
the scene as recorded; right: the scene turned by $angle° before encoding, and the map turned back. Features that turn
with the scene have the same colours in both. Colours of different encoders have nothing to do with one another.</p>
"""


def scene_page(runs: list[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """The HTML of `write_report` for runs on scenes.

    Args:
        runs: evaluated, in the order they appear.
        store: where the pictures' sweeps come from; the first run's evaluation store where None.
        title: heading.
    """
    scenes = DriveStore(store if store is not None else runs[0].results["store"])
    maps, angle = map_figures(runs)
    pictures, arrows = sweep_figures(runs, scenes)
    page = Template(PAGE).substitute(
        title=escape(title or "Equivariant LiDAR pretraining: what the features hold"),
        style=STYLE,
        setup=escape(_setup(runs, scenes)),
        tiles=tile_row(_tiles(runs)),
        arrows=escape(arrows),
        scenes=pictures,
        bins=runs[0].results["config/bins"],
        table=results_table(runs),
        bars=_bars(runs),
        maps=Template(MAPS).substitute(angle=f"{angle:g}") + maps if maps else "",
        legend=legend(runs),
        curves=training_curves(runs, CURVES, "pairs of sweeps seen"),
        diagnostics=_diagnostics(runs),
        configs=configs(runs, scenes.path, scenes.attributes),
    )
    scenes.close()
    return page


def _setup(runs: list[Run], scenes: DriveStore) -> str:
    first = runs[0].results
    seen = {run.results["pairs_seen"] for run in runs}
    budget = f", {next(iter(seen)):,} pairs seen by each" if len(seen) == 1 else ""
    kinds = ", ".join(sorted({entry.dataset or "unnamed" for entry in scenes.index.values()}))
    return (
        f"{len(runs)} run{'s' * (len(runs) > 1)} ({', '.join(run.name for run in runs)}), pretrained on "
        f"{first['train_pairs']:,} pairs of consecutive LiDAR sweeps ({kinds}){budget}. Then the encoders were "
        f"frozen and compared with themselves before training, on {first['val_pairs']:,} pairs that neither encoder "
        f"nor probe has seen. Flow that features are carried along: {_flow(first)}."
    )


FLOWS = {"boxes": "that of labelled boxes", "ego": "that of a static world, from poses alone"}


def _flow(results: Results) -> str:
    provider = str(results.get("flow_provider") or results["flow"])
    return "exact, from the simulator" if provider == "simulated" else FLOWS.get(provider, provider)


def _tiles(runs: list[Run]) -> list[tuple[str, str, str]]:
    tiles = []
    key, before = "equivariance/flow/trained", "equivariance/flow/initial"
    known = [run for run in runs if run.results.get(key) is not None]
    if known:
        best = min(known, key=lambda run: run.results[key])
        was = best.results.get(before)
        text = f"{best.name}, was {was:.3f} before training" if was is not None else best.name
        tiles.append(("Lowest flow-equivariance error", f"{best.results[key]:.3f}", text))
    key = "rotation/accuracy"
    best = max(runs, key=lambda run: run.results[key])
    chance, outline = (100 * best.results[f"rotation/{name}"] for name in ("chance", "outline"))
    text = f"{best.name}; chance {chance:.0f} %, the outline alone {outline:.0f} %"
    tiles.append(("Highest rotation accuracy", f"{100 * best.results[key]:.0f} %", text))
    sites = max((run.results.get("equivariance/translation_sites/trained") or 0.0) for run in runs)
    exact = "bit for bit" if sites == 0 else "largest difference of a feature"
    tiles.append(("Voxels shifted by a cell", "exact" if sites == 0 else f"{sites:.1e}", exact))
    return tiles


def _bars(runs: list[Run]) -> str:
    return "".join(
        card(title, bar_chart(_pairs(runs, *keys, scale), unit, reference, digits))
        for title, keys, scale, unit, reference, digits in (
            (
                "Flow-equivariance error (lower is better)",
                ("equivariance/flow/trained", "equivariance/flow/initial"),
                1.0,
                "",
                None,
                3,
            ),
            (
                "Rotation accuracy on unseen drives (higher is better)",
                ("rotation/accuracy", "rotation/initial"),
                100.0,
                " %",
                ("outline alone", 100 * runs[0].results["rotation/outline"]),
                1,
            ),
        )
    )


def _pairs(runs: list[Run], key: str, before: str, scale: float) -> list[Bar]:
    """Each run's number, and beneath it, faint, what it was before training."""
    bars = []
    for run in runs:
        for name, where, faint in ((run.name, key, False), ("before training", before, True)):
            if (value := run.results.get(where)) is not None:
                bars.append(Bar(name, run.colour, scale * value, faint=faint))
    return bars


def _diagnostics(runs: Sequence[Run]) -> str:
    head = "<th>features</th><th>RankMe</th><th>before</th><th>of dimensions</th><th>mean std</th><th>before</th>"
    body = []
    for run in runs:
        for label, part, before in COLLAPSE:
            r = run.results
            values = [r[f"collapse/rankme/{part}"], r[f"collapse/rankme/{before}"], r[f"collapse/dim/{part}"]]
            stds = [r[f"collapse/std/{part}"], r[f"collapse/std/{before}"]]
            cells = [f"{values[0]:.1f}", f"{values[1]:.1f}", f"{values[2]:.0f}", *(f"{std:.3f}" for std in stds)]
            dot = f'<span class="dot" style="background:{run.colour}"></span>'
            body.append(f"<tr><td>{dot}{escape(run.name)} · {label}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    return table_card(head, body)
