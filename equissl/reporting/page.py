"""Parts of the page of evaluated runs that all kinds share."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import equissl
from equissl.reporting.blocks import Card, Detail, Tile
from equissl.reporting.html import render_page
from equissl.reporting.relations import relation_cards
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Row, build_table

SINGLE = "one standard error over unseen data"


def run_page(
    template: str,
    runs: Sequence[Run],
    columns: Sequence[Column],
    baselines: Iterable[Row],
    facts: Mapping[str, Any],
    *,
    title: str,
    setup: str,
    tiles: Sequence[Tile] = (),
    bars: Sequence[Card] = (),
    curves: Sequence[Card] = (),
    **context: Any,
) -> str:
    """Render the page of evaluated runs.

    Args:
        template: see `equissl.reporting.html.render_page`; ``page.html`` itself will do for a kind without pictures.
        runs: in the order they appear.
        columns: of their table.
        baselines: rows of what needs no learning.
        facts: about the data, shown with the environment.
        title: heading.
        setup: what was done, in a few sentences.
        tiles: the numbers that matter most.
        bars: charts beneath the table.
        curves: charts of training, beneath a legend.
        context: what the blocks of the template show.
    """
    table = build_table([run.results for run in runs], columns, baselines, [run.colour for run in runs])
    context |= {"relations": relation_cards(runs)}
    context |= {"title": title, "setup": setup, "tiles": tiles, "bars": bars, "curves": curves}
    return render_page(
        template, runs=runs, table=table, spread=spread(runs, table.rows), details=details(runs, facts), **context
    )


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Format a count: ``1 run``, ``2,000 runs``.

    Args:
        number: of things.
        noun: for one of them.
        plural: for several; the noun with an s where None.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def listed(runs: Sequence[Run]) -> str:
    """Number and names of the runs: ``2 runs (SIE, VICReg)``."""
    return f"{counted(len(runs), 'run')} ({', '.join(run.name for run in runs)})"


def budget(runs: Sequence[Run], key: str, unit: str) -> str:
    """Format ``, 3,200 views seen by each`` where that is the same number for all of the runs; else empty.

    Args:
        runs: to look at.
        key: of the number in their results.
        unit: that it counts.
    """
    seen = {run.results.get(key) for run in runs}
    number = seen.pop()
    return f", {number:,} {unit} seen by each" if number and not seen else ""


def best_run(runs: Sequence[Run], key: str, best: str) -> Run | None:
    """Return the run with the highest (``best`` is ``max``) or lowest (``min``) number; None where no run has one.

    Args:
        runs: to compare.
        key: of the number in their results.
        best: ``max`` or ``min``.
    """
    known = [run for run in runs if run.results.get(key) is not None]
    choose = max if best == "max" else min
    return choose(known, key=lambda run: run.results[key]) if known else None


def spread(runs: Sequence[Run], rows: Iterable[Row]) -> str:
    """Return a sentence on the meaning of ±; empty where nothing has a ±.

    Args:
        runs: of the page.
        rows: of their table, the runs' first and in the same order.
    """
    seeds = ["seeds" in run.results for run in runs]
    single = any(error is not None for row, many in zip(rows, seeds, strict=False) if not many for error in row.errors)
    if not any(seeds):
        return f"± is {SINGLE}." if single else ""
    alone = f"; elsewhere, {SINGLE}" if single else ""
    return f"± is one standard deviation over seeds where a row has several{alone}."


def details(runs: Sequence[Run], facts: Mapping[str, Any]) -> list[Detail]:
    """Return the provenance of the page: environment, data, and every run's configuration and results.

    Args:
        runs: of the page.
        facts: about the data.
    """
    known = {
        "equissl": equissl.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        **facts,
    }
    found = [Detail("Environment and data", "\n".join(f"{key}: {_short(value)}" for key, value in known.items()))]
    for run in runs:
        found.append(Detail(f"{run.name}: configuration", run.config))
        found.append(Detail(f"{run.name}: all results", json.dumps(run.results, indent=1, sort_keys=True)))
    return found


def store_facts(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the path and attributes of a store, for `details`.

    Args:
        path: of the store.
        attributes: as it holds them.
    """
    return {"store": path, **{f"store {key}": value for key, value in sorted(attributes.items())}}


def _short(value: Any, limit: int = 400) -> str:
    text = str(value)
    return text if len(text) <= limit else text[:limit] + " …"
