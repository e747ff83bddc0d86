"""Tiles and opening words of a page of runs on views."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.reporting.blocks import Tile
from equissl.reporting.collapse import trained_parts
from equissl.reporting.page import best_run
from equissl.reporting.runs import Run
from equissl.reporting.tiles import best_tile, uncounted
from equissl.reporting.views.measures import group_of, measured
from equissl.reporting.views.table import OWN

SUPERVISED = "Supervised"  # method that learns from the labels which the others are scored on
WORDS = {"classification": "the class of a view", "rotation": "the rotation between two"}
ONE_CLASS = "as by chance: the store holds one class"
OTHERS = 3  # tiles where neither class nor rotation was measured


def supervised(runs: Sequence[Run]) -> dict[str, str]:
    """Return why runs are no competitors of the others, by name; none where all of them are supervised."""
    found = {
        run.name: "trained on the labels"
        for run in runs
        if run.results["method"] == SUPERVISED or OWN.key in run.results
    }
    return found if len(found) < len(runs) else {}


def tiles(runs: Sequence[Run]) -> list[Tile]:
    """Return rotation error, constant predictor and top-1; else the best of what was measured."""
    found = [*_nearest(runs), *_constant(runs), *_sharpest(runs)]
    if found:
        return found
    entries = measured([run.results for run in runs])
    others = [
        best_tile(runs, entry.column, beside={"constant predictor": entry.constant, "chance": entry.chance})
        for entry in entries
        if entry.column.best
    ]
    return [tile for one in others for tile in one][:OTHERS]


def protocols_in_words(runs: Sequence[Run]) -> str:
    """Return what the probes read, for the first sentence: ``the class of a view, hue``; empty without a probe."""
    found = dict.fromkeys(
        group_of(entry.column)
        for entry in measured([run.results for run in runs])
        if group_of(entry.column) not in ("retrieval", "sequence_retrieval", "subject")
    )
    ordered = [name for name in WORDS if name in found] + [name for name in found if name not in WORDS]
    named = [WORDS.get(name, name.replace("_", " ")) for name in ordered]
    return " and ".join(filter(None, (", ".join(named[:-1]), *named[-1:])))


def headline_part(runs: Sequence[Run]) -> str:
    """Return the part of the representation that tiles are about: ``all``, else the first that was probed."""
    parts = [part for run in runs for part in trained_parts(run.results)]
    return "all" if "all" in parts or not parts else parts[0]


def _nearest(runs: Sequence[Run]) -> list[Tile]:
    part, excluded = headline_part(runs), supervised(runs)
    key = f"rotation/mean_deg/{part}"
    best = best_run([run for run in runs if run.name not in excluded], key, "min")
    if best is None:
        return []
    error, gap = best.results[key], best.results["rotation/mean_deg/constant"] - best.results[key]
    text = f"{best.name}, {abs(gap):.1f}° {'below' if gap >= 0 else 'above'} the constant predictor"
    return [Tile(f"Lowest rotation error, {_named(part)}", f"{error:.1f}°", text + uncounted(runs, key, excluded))]


def _constant(runs: Sequence[Run]) -> list[Tile]:
    key = "rotation/mean_deg/constant"
    constant = next((run.results[key] for run in runs if run.results.get(key) is not None), None)
    text = "the same answer for every pair; what no learning gives"
    return [] if constant is None else [Tile("Constant predictor", f"{constant:.1f}°", text)]


def _sharpest(runs: Sequence[Run]) -> list[Tile]:
    part, excluded = headline_part(runs), supervised(runs)
    key = f"classification/{part}/top1"
    best = best_run([run for run in runs if run.name not in excluded], key, "max")
    if best is None:
        return []
    top1, chance = best.results[key], best.results["classification/chance"]
    beside = f"{top1 / chance:.1f} times chance ({100 * chance:.1f} %)" if chance < 1 else ONE_CLASS
    text = f"{best.name}, {beside}"
    heading = f"Highest top-1, {_named(part)}"
    return [Tile(heading, f"{100 * top1:.1f} %", text + uncounted(runs, key, excluded))]


def _named(part: str) -> str:
    return "all features" if part == "all" else part
