"""The page about runs on flowing digits: table, curves and roll-outs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.videos.moving_digits import MovingSpec
from equissl.reporting.charts import Series, line_chart
from equissl.reporting.gallery import data_uri
from equissl.reporting.style import STYLE, assign_colours
from equissl.reporting.videos.rollouts import runs_figure
from equissl.reporting.videos.table import video_rows

Results = dict[str, Any]


def write_video_report(run_dirs: Sequence[str | Path], out: str | Path) -> Path:
    """One self-contained page about evaluated runs on flowing digits: table, curves and roll-outs.

    Runs of one label (say, seeds) are averaged in the curves; roll-outs are those of the first run of each label.

    Args:
        run_dirs: evaluated runs.
        out: HTML file to write; the roll-outs also go to a PNG beside it.

    Raises:
        FileNotFoundError: a run without results.json.
    """
    runs = [(Path(run), json.loads((Path(run) / "results.json").read_text())) for run in run_dirs]
    groups: dict[str, list[tuple[Path, Results]]] = {}
    for run, results in runs:
        groups.setdefault(str(results["label"]), []).append((run, results))
    colours = assign_colours(groups)
    picture = runs_figure({name: group[0][0] for name, group in groups.items()})
    image = ""
    out = Path(out)
    if picture is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out.with_suffix(".png"))
        source = f'alt="predicted frames beside the truth" style="width:100%" src="{data_uri(picture)}"'
        image = f"<h2>Roll-outs</h2><img {source}>"
    charts = "".join(
        _card(title, line_chart(_curves(groups, colours, prefix), "frames after those observed", "MSE", y_zero=True))
        for title, prefix in (
            ("Error of the next frame, true frames fed", "prediction/step_mse/"),
            ("Error along the roll-out, predictions fed", "rollout/step_mse/"),
        )
    )
    legend = "".join(
        f'<span><span class="dot" style="background:{colours[name]}"></span>{escape(name)}</span>' for name in groups
    )
    body = (
        f"<h1>Flow equivariant recurrent networks</h1>{_table(groups)}"
        f'<div class="legend">{legend}</div><div class="grid">{charts}{_velocity_tables(groups)}</div>{image}'
    )
    from equissl.reporting.report import write_page  # which imports this module

    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Flow equivariance</title><style>{STYLE}</style>"
    return write_page(f"{head}<main>{body}</main>", out)


def _table(groups: Mapping[str, Sequence[tuple[Path, Results]]]) -> str:
    rows = video_rows([results for group in groups.values() for _, results in group])
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _curves(
    groups: Mapping[str, Sequence[tuple[Path, Results]]], colours: Mapping[str, str], prefix: str
) -> list[Series]:
    return [Series(name, colours[name], _steps(group, prefix)) for name, group in groups.items()]


def _steps(group: Sequence[tuple[Path, Results]], prefix: str) -> list[tuple[float, float]]:
    keys = sorted(key for key in group[0][1] if key.startswith(prefix))
    return [(i, float(np.mean([r[key] for _, r in group]))) for i, key in enumerate(keys, start=1)]


def _velocity_tables(groups: Mapping[str, Sequence[tuple[Path, Results]]]) -> str:
    """Error (or accuracy) for each velocity: rows are the part down, columns the part right; one row for rotations."""
    tables = []
    for name, group in groups.items():
        first = group[0][1]
        metric = "mse" if "velocity/mse_seen" in first else "top1"
        keys = [key for key in first if key.startswith(f"velocity/{metric}/")]
        values = {tuple(map(float, key.rsplit("/", 1)[1].split(","))): _mean(group, key) for key in keys}
        known = _trained(first)
        columns = sorted({v[0] for v in values})
        downs = sorted({v[1:] for v in values})
        head = "".join(f"<th>{c:g}</th>" for c in columns)
        body = "".join(
            f"<tr><th>{row[0] if row else ''}</th>"
            + "".join(_velocity_cell(values[(c, *row)], (c, *row) in known) for c in columns)
            + "</tr>"
            for row in downs
        )
        title = f"{name}: {metric} by velocity (bold: trained)"
        tables.append(_card(title, f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'))
    return "".join(tables)


def _trained(results: Results) -> set[tuple[float, ...]]:
    """Velocities of the training sequences."""
    prefix = "videos/"
    spec = MovingSpec(**{key.removeprefix(prefix): v for key, v in results.items() if key.startswith(prefix)})
    return set(spec.velocities)


def _velocity_cell(value: float, trained: bool) -> str:
    return f'<td class="best">{value:.2g}</td>' if trained else f"<td>{value:.2g}</td>"


def _mean(group: Sequence[tuple[Path, Results]], key: str) -> float:
    return float(np.mean([r[key] for _, r in group]))


def _card(title: str, content: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{content}</div>' if content else ""
