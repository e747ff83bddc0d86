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
from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.images.figures import SEEN, UNIT, class_bars, confusions, curves, score_bars
from equissl.reporting.images.pictures import gallery
from equissl.reporting.images.table import OWN, baselines, columns
from equissl.reporting.page import budget, counted, listed, run_page
from equissl.reporting.pictures import decoded_pictures
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Table
from equissl.reporting.tiles import best_tile

TITLE = "Self-supervised learning on images: what the features hold"
LABELLED = "chance"  # key of the results on images with labels
TILES = (
    ("Highest k-NN top-1", "knn/all/top1", "knn/initial/top1"),
    ("Highest linear top-1", "linear/all/top1", "linear/initial/top1"),
)


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Render the page about runs on images.

    Args:
        runs: evaluated, in the order they appear.
        store: folder of the images that are shown; the first run's where None.
        title: heading.
    """
    results = [run.results for run in runs]
    shown = _shown(runs[0], store)
    tables = [table for run in runs if (table := confusions(run)) is not None]
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
        decoded=decoded_pictures(runs),
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
    start = f"{listed(runs)}, {_trained(runs)}"
    sizes = f"{first['image_size']}×{first['image_size']} pixels"
    if LABELLED not in first:
        return (
            f"{start}{budget(runs, SEEN, UNIT)}. Then the encoders were frozen. The images have no labels, so that "
            f"nothing but collapse is measured, on {first['val_images']:,} whole images of {sizes} held out."
        )
    return (
        f"{start}{budget(runs, SEEN, UNIT)}. Then the encoders were frozen: nearest neighbours "
        f"(k = {first['config/neighbours'][0]}, by cosine) and a linear probe among {first['train_images']:,} training "
        f"images of {first['classes']} classes name the class of {first['val_images']:,} whole images of {sizes} that "
        "neither encoder nor probe has seen."
    )


def _trained(runs: Sequence[Run]) -> str:
    """Say how the encoders were trained; a classifier of their own learns from labels too."""
    tuned = [run.name for run in runs if OWN.key in run.results or run.results.get("reads_labels")]
    if not tuned:
        return "pretrained without labels on views of images"
    if len(tuned) == len(runs):
        return "trained with labels on images"
    return f"pretrained without labels on views of images, but for {', '.join(tuned)}, trained with labels"


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    found = [
        best_tile(runs, Column("", key, 100, best="max"), heading, " %", {"before training": before})
        for heading, key, before in TILES
    ]
    tiles = [tile for one in found for tile in one]
    if tiles and LABELLED in runs[0].results:
        chance, classes = 100 * runs[0].results[LABELLED], counted(runs[0].results["classes"], "class", "classes")
        tiles.append(Tile("Chance", f"{chance:.1f} %", f"a guess among {classes}"))
    return tiles


def _diagnostics(runs: Sequence[Run]) -> Table:
    return Table(DIAGNOSTICS, tuple(collapse_rows(runs)), "features")
