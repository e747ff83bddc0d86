"""Pictures of sweeps and of maps of their features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Sweep, ego_motion, own_motion
from equissl.evaluation.drives.evaluate import MAPS
from equissl.evaluation.drives.maps import read_maps
from equissl.reporting.bev import Window, component_colours, draw_cells, draw_sweep
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.colours import SOFT
from equissl.reporting.runs import Run

MAP_PIXELS, SWEEP_PIXELS = 300, 560
HALF_SECOND, USUAL_RATE = 0.5, 10.0
ARROWS = "arrows show where moving things go within half a second"
Maps = tuple[dict[str, np.ndarray], dict[str, Any]]


def load_maps(run: Run) -> Maps | None:
    """Load the maps that the evaluation kept for pictures, or None."""
    path = run.file(MAPS)
    return None if path is None else read_maps(path)


def sweep_pictures(runs: Sequence[Run], store: DriveStore) -> tuple[list[Picture], str]:
    """Draw the sweeps whose features are shown, as recorded; and name the motion of their arrows, if they have any.

    Args:
        runs: the first with maps says which sweeps.
        store: that holds them; others are left out.
    """
    maps = next((found for run in runs if (found := load_maps(run)) is not None), None)
    if maps is None:
        return [], ""
    pairs = [pair for pair in maps[1]["pairs"] if pair["drive"] in store.index]
    drawn = [_sweep(pair, store, _window(maps[1], SWEEP_PIXELS)) for pair in pairs]
    return [picture for picture, _ in drawn], ARROWS if any(arrows for _, arrows in drawn) else ""


def map_pictures(runs: Sequence[Run]) -> tuple[list[list[Picture]], float]:
    """Draw for each sweep the maps of the first run before training and of every run; return the angle of the turn too.

    Args:
        runs: of the page; those without maps are left out.
    """
    found = [(run, maps) for run in runs if (maps := load_maps(run)) is not None]
    if not found:
        return [], 0.0
    first = found[0][1]
    entries = [("before training", SOFT, first, "initial")]
    entries += [(run.name, run.colour, maps, "trained") for run, maps in found]
    rows = [
        [
            Picture(_map_pair(maps, name, number), label, f"feature maps, {label}", colour)
            for label, colour, maps, name in entries
            if maps[1]["pairs"][number : number + 1] == [pair]
        ]
        for number, pair in enumerate(first[1]["pairs"])
    ]
    return rows, float(first[1]["angle"])


def _sweep(pair: dict[str, Any], store: DriveStore, window: Window) -> tuple[Picture, bool]:
    """Draw a sweep as recorded; True where it has arrows."""
    drive, sweeps = pair["drive"], pair["sweeps"]
    sweep, flow = _sweep_with_motion(store, drive, *sweeps)
    boxes = None if sweep.boxes is None else _near(sweep.boxes.boxes)
    ahead = HALF_SECOND * (store.index[drive].rate or USUAL_RATE)
    caption = f"{drive}, sweep {sweeps[0]}: {len(sweep):,} points"
    caption += "" if boxes is None else f", {len(boxes)} boxes"
    return Picture(data_uri(draw_sweep(sweep.points, boxes, flow, window, ahead)), caption), flow is not None


def _map_pair(maps: Maps, name: str, number: int) -> str:
    """Draw both maps of a sweep, side by side in one picture, as a data URI."""
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
    return data_uri(joined)


def _sweep_with_motion(store: DriveStore, drive: str, first: int, second: int) -> tuple[Sweep, np.ndarray | None]:
    """Return the earlier sweep of a pair, and its points' motion over ground until the later one, where it is known."""
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
