"""One self-contained HTML page about a set of evaluated runs."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch

import equissl
from equissl.datasets.views.store.store import ViewStore
from equissl.reporting import table
from equissl.reporting.figures import action_gap_curves, error_curves, score_bars, training_curves
from equissl.reporting.gallery import gallery
from equissl.reporting.runs import PARTS, Run, load_runs
from equissl.reporting.style import PAGE, STYLE
from equissl.reporting.sweeps.table import of_detection
from equissl.reporting.videos.table import of_videos


def write_report(
    run_dirs: Sequence[str | Path], out: str | Path, store: str | Path | None = None, title: str | None = None
) -> Path:
    """Writes the page: what was done, rendered views, the table, charts, diagnostics and configurations.

    Args:
        run_dirs: evaluated runs, in the order they appear.
        out: HTML file to write.
        store: where the gallery's views, or the pictures' sweeps, come from; the first run's evaluation store where
            None.
        title: heading of the page.

    Returns:
        ``out``.

    Raises:
        ValueError: for no run, or runs on views and runs on scenes together.
        FileNotFoundError: naming the run that has no results.json, and the command that makes it.
    """
    runs = load_runs(run_dirs)
    if of_videos([run.results for run in runs]):
        from equissl.reporting.videos.page import write_video_report

        return write_video_report(run_dirs, out)
    if of_detection([run.results for run in runs]):
        from equissl.reporting.sweeps.page import detection_page

        return write_page(detection_page(runs, store, title), out)
    if table.of_drives([run.results for run in runs]):
        from equissl.reporting.drives.page import scene_page

        return write_page(scene_page(runs, store, title), out)
    views = ViewStore(store if store is not None else runs[0].results["store"])
    page = Template(PAGE).substitute(
        title=escape(title or "Equivariant self-supervised learning: what the features hold"),
        style=STYLE,
        setup=escape(_setup(runs, views)),
        tiles=_view_tiles(runs),
        gallery=_gallery(views),
        spread=_spread(runs),
        table=results_table(runs),
        legend=legend(runs, DASHED),
        bars=score_bars(runs),
        curves=error_curves(runs) + action_gap_curves(runs) + training_curves(runs),
        diagnostics=_diagnostics(runs),
        configs=configs(runs, views.path, views.attributes),
    )
    return write_page(page, out)


def write_page(page: str, out: str | Path) -> Path:
    """A reader sees the whole page or the one before."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".tmp")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)
    return out


def _rotations(views: ViewStore) -> str:
    ranges = [
        (name[-1], latent)
        for name, latent in zip(views.schema.names, views.schema.latents, strict=True)
        if name.startswith("rotation_") and latent.high > latent.low
    ]
    degrees = {axis: f"{np.degrees(latent.low):.0f}° to {np.degrees(latent.high):.0f}°" for axis, latent in ranges}
    if len(set(degrees.values())) == 1:
        return f"{next(iter(degrees.values()))} about {', '.join(degrees)}"
    return ", ".join(f"{text} about {axis}" for axis, text in degrees.items()) or "none"


def _setup(runs: list[Run], views: ViewStore) -> str:
    first = runs[0].results
    seen = {run.results["views_seen"] for run in runs if run.results.get("views_seen")}
    budget = f", {next(iter(seen)):,} views seen by each" if len(seen) == 1 else ""
    labelled = " Supervised, for comparison, is trained on those labels." if SUPERVISED in _methods(runs) else ""
    scale = "standardised " if first.get("config/standardize") else ""
    return (
        f"{len(runs)} run{'s' * (len(runs) > 1)} ({', '.join(run.name for run in runs)}), pretrained on "
        f"{first['train_objects']:,} objects of {first['classes']} classes{budget}. Every object was rendered "
        f"{views.num_views} times at {views.image_size}×{views.image_size} pixels with random rotation "
        f"({_rotations(views)}), floor colour and light. Then the encoders were frozen: small probes read the class of "
        f"a view, and the rotation between two, from their {scale}features, and are scored on {first['val_objects']:,} "
        f"objects that neither encoder nor probe has seen.{labelled}"
    )


def _gallery(views: ViewStore) -> str:
    return "".join(
        f'<figure><img alt="{escape(strip.caption)}" src="{strip.uri}"><figcaption>{escape(strip.caption)}</figcaption>'
        "</figure>"
        for strip in gallery(views)
    )


def _methods(runs: list[Run]) -> list[str]:
    return [run.results["method"] for run in runs]


def _view_tiles(runs: list[Run]) -> str:
    constant = runs[0].results["rotation/mean_deg/constant"]
    chance = runs[0].results["classification/chance"]
    compared = [run for run in runs if run.results["method"] != SUPERVISED] or runs
    nearest = min(compared, key=lambda run: run.results["rotation/mean_deg/all"])
    sharpest = max(compared, key=lambda run: run.results["classification/all/top1"])
    error, top1 = nearest.results["rotation/mean_deg/all"], sharpest.results["classification/all/top1"]
    gap = constant - error
    tiles = (
        (
            "Lowest rotation error, all features",
            f"{error:.1f}°",
            f"{nearest.name}, {abs(gap):.1f}° {'below' if gap >= 0 else 'above'} the constant predictor",
        ),
        ("Constant predictor", f"{constant:.1f}°", "the same answer for every pair; what no learning gives"),
        (
            "Highest top-1, all features",
            f"{100 * top1:.1f} %",
            f"{sharpest.name}, {top1 / chance:.1f} times chance ({100 * chance:.1f} %)",
        ),
    )
    return tile_row(tiles)


def tile_row(tiles: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers, each with a heading and what it means."""
    return "".join(
        f'<div class="tile"><span class="soft">{escape(head)}</span><b>{escape(value)}</b>'
        f'<span class="soft">{escape(text)}</span></div>'
        for head, value, text in tiles
    )


def _best(rows: list[table.Row], index: int, column: table.Column) -> float | None:
    values = [v for row in rows if not row.baseline and (v := row.values[index]) is not None]
    if len(values) < 2 or not column.best:
        return None
    return max(values) if column.best == "max" else min(values)


def results_table(runs: list[Run]) -> str:
    """The table of `equissl.reporting.table` as HTML, the best of each column marked."""
    results = [run.results for run in runs]
    rows, columns = table.rows(results), table.columns(results)
    colours = {run.name: run.colour for run in runs}
    best = [_best(rows, i, column) for i, column in enumerate(columns)]
    head = "".join(f'<th scope="col">{escape(c.heading)}</th>' for c in columns)
    body = []
    for row in rows:
        dot = f'<span class="dot" style="background:{colours[row.name]}"></span>' if row.name in colours else ""
        cells = [f"<td>{dot}{escape(row.name)}</td>"]
        for value, error, column, top in zip(row.values, row.errors, columns, best, strict=True):
            mark = ' class="best"' if value is not None and value == top and not row.baseline else ""
            plus = f' <span class="se">± {error:.{column.digits}f}</span>' if error is not None else ""
            cells.append(f"<td{mark}>{table.cell(value, column)}{plus}</td>")
        body.append(f"<tr{' class=baseline' if row.baseline else ''}>{''.join(cells)}</tr>")
    return table_card(f"<th>method</th>{head}", body)


def _spread(runs: list[Run]) -> str:
    """What ± stands for on this page."""
    single = "± is one standard error over unseen objects"
    if not any("seeds" in run.results for run in runs):
        return f"{single}."
    return f"± in the table is one standard deviation over seeds where a row has several; elsewhere, {single}."


def legend(runs: list[Run], extra: str = "") -> str:
    """Colours of the runs."""
    items = "".join(
        f'<span><span class="dot" style="background:{r.colour}"></span>{escape(r.name)}</span>' for r in runs
    )
    return f'<div class="legend">{items}{extra}</div>'


DASHED = '<span class="soft">- - - what needs no learning</span>'
SUPERVISED = "Supervised"  # learns from the labels that the others are scored on
DIAGNOSTICS = (
    ("RankMe", "collapse/rankme/{}", 1),
    ("of dimensions", "collapse/dim/{}", 0),
    ("mean std", "collapse/std/{}", 3),
)


def _diagnostics(runs: list[Run]) -> str:
    head = "<th>features</th>" + "".join(f"<th>{name}</th>" for name, _, _ in DIAGNOSTICS)
    head += "<th>predictor loss, real action</th><th>another sample's action</th><th>ratio</th>"
    body = []
    for run in runs:
        for part, suffix in PARTS:
            if f"collapse/rankme/{part}" not in run.results:
                continue
            cells = [f"{run.results[key.format(part)]:.{digits}f}" for _, key, digits in DIAGNOSTICS]
            cells += _gap(run.results) if part == "all" else ["", "", ""]
            dot = f'<span class="dot" style="background:{run.colour}"></span>'
            body.append(f"<tr><td>{dot}{escape(run.name + suffix)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    return table_card(head, body)


def table_card(head: str, rows: list[str]) -> str:
    """A table that scrolls where it is wider than the page."""
    body = "".join(rows)
    return f'<div class="scroll card"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _gap(results: dict[str, Any]) -> list[str]:
    real, ignored = (results.get(f"predictor/equivariance{s}") for s in ("", "_ignored_action"))
    if real is None or ignored is None:
        return ["–", "–", "–"]
    return [f"{real:.4f}", f"{ignored:.4f}", f"{ignored / real:.2f}" if real else "–"]


def configs(runs: list[Run], store: Path, attributes: Mapping[str, Any]) -> str:
    """What made the page: environment, data, and every run's configuration and results."""
    facts = {
        "equissl": equissl.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "store": str(store),
        **{f"store {key}": value for key, value in sorted(attributes.items())},
    }
    text = "\n".join(f"{key}: {_short(value)}" for key, value in facts.items())
    blocks = [f"<details><summary>Environment and data</summary><pre>{escape(text)}</pre></details>"]
    for run in runs:
        scores = json.dumps(run.results, indent=1, sort_keys=True)
        blocks.append(
            f"<details><summary>{escape(run.name)}: configuration</summary><pre>{escape(run.config)}</pre></details>"
        )
        blocks.append(
            f"<details><summary>{escape(run.name)}: all results</summary><pre>{escape(scores)}</pre></details>"
        )
    return "".join(blocks)


def _short(value: Any, limit: int = 400) -> str:
    text = str(value)
    return text if len(text) <= limit else text[:limit] + " …"
