"""The report's pictures of scenes and of their features."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Sweep, ego_motion, own_motion
from equissl.reporting.bev import Window, component_colours, draw_cells, draw_sweep
from equissl.reporting.gallery import data_uri
from equissl.reporting.runs import Run

MAP_PIXELS, SCENE_PIXELS = 300, 560
HALF_SECOND, USUAL_RATE = 0.5, 10.0
ARROWS = "arrows show where moving things go within half a second."
Maps = tuple[dict[str, np.ndarray], dict[str, Any]]


def load_maps(run: Run) -> Maps | None:
    """What the evaluation left for pictures, or None."""
    from equissl.evaluation.drives.maps import read_maps

    path = None if run.folder is None else run.folder / "maps.npz"
    return read_maps(path) if path is not None and path.is_file() else None


def sweep_figures(runs: list[Run], store: DriveStore) -> tuple[str, str]:
    """The scenes whose features are shown, as recorded; and what their arrows are, for the caption."""
    maps = next((found for run in runs if (found := load_maps(run)) is not None), None)
    if maps is None:
        return "", ""
    description = maps[1]
    figures, any_flow = [], False
    for scene in description["scenes"]:
        if scene["drive"] not in store.index:
            continue
        sweep, flow = _sweep_with_motion(store, scene["drive"], *scene["sweeps"])
        any_flow |= flow is not None
        boxes = None if sweep.boxes is None else _near(sweep.boxes.boxes)
        ahead = HALF_SECOND * (store.index[scene["drive"]].rate or USUAL_RATE)
        picture = draw_sweep(sweep.points, boxes, flow, _window(description, SCENE_PIXELS), ahead)
        caption = f"{scene['drive']}, sweep {scene['sweeps'][0]}: {len(sweep):,} points"
        caption += "" if boxes is None else f", {len(boxes)} boxes"
        figures.append(_figure(data_uri(picture), caption, escape(caption)))
    return "".join(figures), ARROWS if any_flow else ""


def map_figures(runs: list[Run]) -> tuple[str, float]:
    """Maps of every run, of each scene, and of the first run before training; and the angle of the turned ones."""
    found = [(run, maps) for run in runs if (maps := load_maps(run)) is not None]
    if not found:
        return "", 0.0
    first = found[0][1]
    rows = []
    for number, scene in enumerate(first[1]["scenes"]):
        entries = [("before training", "var(--soft)", first, "initial")]
        entries += [(run.name, run.colour, maps, "trained") for run, maps in found]
        figures = [
            _map_pair(maps, name, number, label, colour)
            for label, colour, maps, name in entries
            if maps[1]["scenes"][number : number + 1] == [scene]
        ]
        rows.append(f'<div class="maps">{"".join(figures)}</div>')
    return "".join(rows), float(first[1]["angle"])


def _map_pair(maps: Maps, name: str, number: int, label: str, colour: str) -> str:
    """Both maps of a scene, side by side in one picture."""
    arrays, description = maps
    states = ("now", "turned")
    values = component_colours([arrays[f"{name}/{number}/{state}/values"] for state in states])
    window, angle = _window(description, MAP_PIXELS), math.radians(description["angle"])
    pictures = [
        draw_cells(
            arrays[f"{name}/{number}/{state}/cells"],
            shown,
            tuple(description["low"]),
            description["cell"][0],
            window,
            turn,
        )
        for state, shown, turn in zip(states, values, (0.0, angle), strict=True)
    ]
    joined = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height))
    for index, picture in enumerate(pictures):
        joined.paste(picture, (index * pictures[0].width, 0))
    dot = f'<span class="dot" style="background:{colour}"></span>'
    return _figure(data_uri(joined), f"feature maps, {label}", f"{dot}<b>{escape(label)}</b>")


def _sweep_with_motion(store: DriveStore, drive: str, first: int, second: int) -> tuple[Sweep, np.ndarray | None]:
    """The earlier sweep of a pair; and its points' motion over ground until the later one, where that is known."""
    sweep, poses = store.read(drive, first), store.index[drive].poses
    if sweep.flow is None or sweep.pose is None or poses is None or not np.isfinite(poses[second]).all():
        return sweep, None
    motion = own_motion(sweep.points, sweep.flow, ego_motion(sweep.pose, poses[second]))
    return sweep, np.where(_valid(sweep)[:, None], motion, 0)


def _valid(sweep: Sweep) -> np.ndarray:
    return np.ones(len(sweep), bool) if sweep.flow_valid is None else sweep.flow_valid


def _near(boxes: np.ndarray, metres: float = 80.0) -> np.ndarray:
    return boxes[np.linalg.norm(boxes[:, :2], axis=1) <= metres]


def _window(description: dict[str, Any], pixels: int) -> Window:
    low, high = description["low"], description["high"]
    return Window((low[0], high[0]), (low[1], high[1]), pixels)


def _figure(uri: str, alternative: str, caption: str) -> str:
    return f'<figure><img alt="{escape(alternative)}" src="{uri}"><figcaption>{caption}</figcaption></figure>'
