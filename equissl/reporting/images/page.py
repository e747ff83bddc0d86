"""Page of runs on images: views, accuracies, classes and curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import open_images
from equissl.datasets.images.open import open_form, open_source
from equissl.datasets.images.sequences import ImageSequences, SmallCrops
from equissl.reporting.blocks import Tile
from equissl.reporting.images.figures import SEEN, UNIT, class_bars, confusions, curves, score_bars
from equissl.reporting.images.pictures import gallery
from equissl.reporting.images.table import baselines, columns
from equissl.reporting.page import best_run, budget, listed, run_page
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, Table

TITLE = "Self-supervised learning on images: what the features hold"
DIAGNOSTICS = (
    Column("RankMe", "collapse/rankme/{}"),
    Column("of dimensions", "collapse/dim/{}", digits=0),
    Column("mean std", "collapse/std/{}", digits=3),
)
PARTS = (("all", ""), ("inv", " · inv"), ("equi", " · equi"), ("initial", " · before training"))


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Render the page about runs on images.

    Args:
        runs: evaluated, in the order they appear.
        store: folder of the images that are shown; the first run's where None.
        title: heading.
    """
    results = [run.results for run in runs]
    shown = _shown(runs[0], store)
    tables = [table for run in runs if (table := confusions(run, shown.store.classes)) is not None]
    return run_page(
        "images/page.html",
        runs,
        columns(results),
        baselines(results),
        {"images": shown.store.path, "form": results[0]["form"], "policy": results[0]["policy"]},
        title=title or TITLE,
        setup=_setup(runs),
        tiles=_tiles(runs),
        bars=score_bars(runs),
        curves=curves(runs),
        gallery=gallery(shown),
        classes=class_bars(runs),
        confusions=tables,
        diagnostics=_diagnostics(runs),
    )


def _shown(run: Run, store: str | Path | None) -> ImageSequences:
    """The training views of a run, from its own images or from others."""
    config = yaml.safe_load(run.config)
    data, args = ImagesData(**config["data"]), config["method"]["init_args"]
    source = open_source(data) if store is None else open_images(store)
    crops = (
        SmallCrops(args["small_crops"], args["small_size"], args["small_scale"]) if args.get("small_crops") else None
    )
    return open_form(data, source, run.results["views"], config["seed"], crops)


def _setup(runs: Sequence[Run]) -> str:
    first = runs[0].results
    return (
        f"{listed(runs)}, pretrained without labels on views of {first['train_images']:,} images of {first['classes']} "
        f"classes{budget(runs, SEEN, UNIT)}. Then the encoders were frozen: nearest neighbours "
        f"(k = {first['config/neighbours'][0]}, by cosine) and a linear probe among the training images name the class "
        f"of {first['val_images']:,} whole images of {first['image_size']}×{first['image_size']} pixels that neither "
        "encoder nor probe has seen."
    )


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    best = [(best_run(runs, f"{group}/all/top1", "max"), group, name) for group, name in _GROUPS]
    tiles = [_tile(run, group, name) for run, group, name in best if run is not None]
    chance = 100 * runs[0].results["chance"]
    return [*tiles, Tile("Chance", f"{chance:.1f} %", f"a guess among {runs[0].results['classes']} classes")]


_GROUPS = (("knn", "Highest k-NN top-1"), ("linear", "Highest linear top-1"))


def _tile(run: Run, group: str, name: str) -> Tile:
    top1, before = (100 * run.results[f"{group}/{part}/top1"] for part in ("all", "initial"))
    return Tile(name, f"{top1:.1f} %", f"{run.name}; {before:.1f} % before training")


def _diagnostics(runs: Sequence[Run]) -> Table:
    rows = [
        Row(run.name + suffix, tuple(run.results[c.key.format(part)] for c in DIAGNOSTICS), colour=run.colour)
        for run in runs
        for part, suffix in PARTS
        if f"collapse/rankme/{part}" in run.results
    ]
    return Table(DIAGNOSTICS, tuple(rows), "features")
