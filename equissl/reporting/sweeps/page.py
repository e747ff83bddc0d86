"""The page about detectors: table, average precision over labels, pictures and curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from equissl.datasets.drives.store.store import DriveStore
from equissl.reporting.charts import Series, line_chart
from equissl.reporting.figures import card, training_curves
from equissl.reporting.gallery import data_uri
from equissl.reporting.report import configs, legend, results_table, tile_row
from equissl.reporting.runs import Run
from equissl.reporting.style import STYLE, assign_colours
from equissl.reporting.sweeps.pictures import SURE, draw_detections

if TYPE_CHECKING:
    from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep

SHOWN = 3  # frames with pictures
CURVES = (
    ("Training loss", "loss relative to its first value", "train/loss", True),
    ("Loss of the boxes, on training frames", "loss", "train/box", True),
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>$title</title><style>$style
.maps{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));margin:.8rem 0 1.4rem}
.maps figure{margin:0}.maps img{width:100%;display:block;border-radius:8px}
</style></head><body><main>
<h1>$title</h1>
<p>$setup</p>
<div class="tiles">$tiles</div>
<h2>Results</h2>
<p class="note">Average precision in percent: the area under precision over recall, where a detection is right when it
overlaps an object of its class by more than the class's threshold ($overlaps), in 3D or from above (BEV).$spread</p>
$table
<div class="grid charts">$shares</div>
<h2>Frames that no detector has learnt from</h2>
<p class="note">Seen from above, the car's front up. Orange: labels; blue: detections with a score of at least $sure.
</p>
$pictures
<h2>Curves</h2>
$legend
<div class="grid">$curves</div>
<h2>Configuration</h2>
$configs
</main></body></html>
"""


def detection_page(runs: list[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """The HTML of `write_report` for detectors.

    Args:
        runs: evaluated, in the order they appear.
        store: where the pictures' sweeps come from; each run's evaluation store where None.
        title: heading.
    """
    scenes = DriveStore(store if store is not None else runs[0].results["store"])
    several = any("seeds" in run.results for run in runs)
    page = Template(PAGE).substitute(
        title=escape(title or "3D detection from pretrained LiDAR backbones"),
        style=STYLE,
        setup=escape(_setup(runs)),
        tiles=tile_row(_tiles(runs)),
        overlaps=escape(_overlaps(runs[0])),
        spread=" ± is one standard deviation over seeds." if several else "",
        table=results_table(runs),
        shares=card("Mean 3D average precision over the labels used", _over_labels(runs)),
        sure=SURE,
        pictures="".join(_pictures(run, store) for run in runs),
        legend=legend(runs),
        curves=training_curves(runs, CURVES, "frames seen"),
        configs=configs(runs, scenes.path, scenes.attributes),
    )
    scenes.close()
    return page


def _setup(runs: list[Run]) -> str:
    first = runs[0].results
    counts = {name: int(first.get(f"detection/{name.lower()}/labels") or 0) for name in first["classes"]}
    objects = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{len(runs)} detectors, scored on {first['val_sweeps']:,} held-out sweeps of {first['store']} ({objects})."


def _tiles(runs: list[Run]) -> list[tuple[str, str, str]]:
    known = [run for run in runs if run.results.get("detection/mean/3d_ap") is not None]
    if not known:
        return []
    best = max(known, key=lambda run: run.results["detection/mean/3d_ap"])
    return [("Highest mean 3D AP", f"{best.results['detection/mean/3d_ap']:.1f}", best.name)]


def _overlaps(run: Run) -> str:
    import yaml

    classes = yaml.safe_load(run.config)["method"]["init_args"]["classes"]
    return ", ".join(f"{kind['name']} {kind['overlap']:g}" for kind in classes)


def _over_labels(runs: list[Run]) -> str:
    """A line for each starting point, where detectors with different numbers of labels are among the runs."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        value, labels = run.results.get("detection/mean/3d_ap"), run.results.get("labelled_sweeps")
        if value is not None and labels is not None:
            lines.setdefault(str(run.results.get("start", run.name)), []).append((float(labels), value))
    if len({x for line in lines.values() for x, _ in line}) < 2:
        return ""
    colours = assign_colours(lines)
    series = [Series(name, colours[name], sorted(line)) for name, line in lines.items()]
    names = "".join(
        f'<span><span class="dot" style="background:{s.colour}"></span>{escape(s.name)}</span>' for s in series
    )
    return f'<div class="legend">{names}</div>' + line_chart(series, "labelled sweeps", "mean 3D AP", y_zero=True)


def _pictures(run: Run, store: str | Path | None) -> str:
    from equissl.evaluation.sweeps.detecting import DETECTIONS, read_detections

    file = None if run.folder is None else run.folder / DETECTIONS
    if file is None or not file.is_file():
        return ""
    found = read_detections(file)
    chosen = [list(found)[i * len(found) // min(SHOWN, len(found))] for i in range(min(SHOWN, len(found)))]
    figures = []
    for frame, point_range in _frames(run, store, chosen):
        picture = data_uri(draw_detections(frame, found[frame.id], point_range))
        caption = escape(f"{run.name}: {frame.id}")
        figures.append(f'<figure><img alt="{caption}" src="{picture}"><figcaption>{caption}</figcaption></figure>')
    return f'<div class="maps">{"".join(figures)}</div>'


def _frames(run: Run, store: str | Path | None, ids: Sequence[str]) -> list[tuple[LabelledSweep, Sequence[float]]]:
    import yaml

    from equissl.runs.configfile import resolve_config
    from equissl.training.data import open_labelled_sweeps

    training = resolve_config(yaml.safe_load(run.config))
    source = store if store is not None else run.results["store"]
    every = {"labels": 1.0, "augment": False, "at_least": 1, "store": source}
    frames = open_labelled_sweeps(training, "val", **every)
    place = {name: index for index, name in enumerate(frames.ids)}
    point_range = training.method.init_args["encoder"]["point_range"]
    return [(frames.read(place[name]), point_range) for name in ids if name in place]
