"""Benchmark of what rotations about three axes take to learn: the supervised ceiling over range, data, size and budget.

``equissl bench scaling --out runs/scaling`` renders the stores, trains every point and draws ``scaling.svg``; started
again it goes on where it stopped. ``python -m equissl.bench.scaling RUN`` keeps the last scores of one run.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from equissl.bench.methods import evaluation_flags
from equissl.bench.record import Measured
from equissl.bench.sweep import Run, budget_for, command, grid, run_sweep, seed_folder
from equissl.datasets.meshes.sweethome3d import ORIENTED_CLASSES
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.reporting.charts import Series
from equissl.reporting.panels import Panel, write_panels
from equissl.runs.results import read_results
from equissl.util.files import write_json

FIGURE, RESULTS, CURVE = "scaling.svg", "scaling.json", "curve"
SCORES = {
    "error": "rotation/mean_deg/all",
    "standard_error": "rotation/mean_deg_se/all",
    "constant": "rotation/mean_deg/constant",
    "r2_uniform": "rotation/r2_uniform/all",
    "top1": "classification/all/top1",
}
GOAL = 20.0  # degrees below the constant predictor
THINGS = (
    ("degrees", "Range of the rotations about x, y and z", "±{:g}°"),
    ("objects", "Training objects", "{:,} objects"),
    ("size", "Side of the images", "{} px"),
)
COLOURS = ("#2f6fde", "#d9730d", "#0f8a5f", "#8b46c9", "#c2334d", "#0b8ca6")


@dataclass(frozen=True)
class Point:
    """One setting of the task.

    Attributes:
        degrees: half-width of the rotations about each axis.
        objects: that are trained on.
        size: side of the images in pixels.
    """

    degrees: float
    objects: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.degrees:g}deg-{self.objects}objects-{self.size}px"

    @classmethod
    def named(cls, name: str) -> Point | None:
        """Return the point of a name; None for another name."""
        found = re.fullmatch(r"([\d.]+)deg-(\d+)objects-(\d+)px", name)
        return cls(float(found[1]), int(found[2]), int(found[3])) if found else None


@dataclass
class ScalingTask:
    """Task of the scaling benchmark: objects, loss and probes that all points share.

    Attributes:
        meshes, classes: of the objects.
        stored, views: objects in each store and views of each, as many as the largest number of objects needs.
        val_fraction: share of the stored objects that are held out, and scored.
        rotation: weight of the rotation loss beside that of the class.
        batch_size: objects in a batch, two views of each.
        probe_steps: updates of each probe.
    """

    meshes: str = "sweethome3d+procedural"
    classes: tuple[str, ...] = ORIENTED_CLASSES
    stored: int = 7200
    views: int = 8
    val_fraction: float = 0.1
    rotation: float = 10.0
    batch_size: int = 128
    probe_steps: int = 1000


def points(degrees: Sequence[float], objects: Sequence[int], sizes: Sequence[int]) -> list[Point]:
    """Vary one thing at a time around the first value of each.

    Args:
        degrees, objects, sizes: values, that of the base point first.

    Raises:
        ValueError: a thing without values.
    """
    if not (degrees and objects and sizes):
        raise ValueError(f"expected values of each, got degrees {degrees}, objects {objects}, sizes {sizes}")
    base = Point(degrees[0], objects[0], sizes[0])
    varied = [replace(base, degrees=value) for value in degrees]
    varied += [replace(base, objects=value) for value in objects[1:]]
    return varied + [replace(base, size=value) for value in sizes[1:]]


def bench_scaling(
    out: Path | str = "runs/scaling",
    degrees: Sequence[float] = (60, 30, 45, 90),
    objects: Sequence[int] = (6400, 400, 1600),
    sizes: Sequence[int] = (32, 48, 64),
    steps: Sequence[int] = (400, 800, 1600),
    seeds: int = 1,
    task: ScalingTask | None = None,
    parallel: int | None = None,
) -> dict[str, str]:
    """Train the supervised ceiling at every point, one thing varied at a time, and score it at several budgets.

    Stores are OUT/stores, runs OUT/POINT/seed0 …, all scores OUT/scaling.json, the figure OUT/scaling.svg. A later call
    with other points or budgets adds to both.

    Args:
        out: folder of everything that is made.
        degrees: half-widths of the rotations about x, y and z; the base point's first.
        objects: that are trained on; the base point's first.
        sizes: sides of the images in pixels; the base point's first.
        steps: budgets at which each run is scored, ascending.
        seeds: runs of each point.
        task: what all points share.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        for each point in OUT the degrees by which the rotation error on unseen objects is below the constant
        predictor's, by budget; the views, by the fitted curve, at which it is 20° below; and where the figure is.

    Raises:
        ValueError: budgets that do not rise, a thing without values, or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError(f"expected rising steps, got {list(steps)}")
    out, task = Path(out), task or ScalingTask()
    wanted = points(degrees, objects, sizes)
    stores = {(p.degrees, p.size): render(p, task, out / "stores", parallel) for p in wanted}
    runs = [
        scaling_run(point, seed, stores[point.degrees, point.size], out, steps, task)
        for point, seed in grid(wanted, seeds)
    ]
    run_sweep(runs, out / "logs", parallel)
    rows = read_rows(out)
    write_json(out / RESULTS, rows)
    write_panels(panels(rows, wanted[0]), out / FIGURE)
    return {point.name: describe(rows_of(rows, point)) for point in found_points(rows)} | {"figure": str(out / FIGURE)}


def render(point: Point, task: ScalingTask, folder: Path, workers: int | None = None) -> Path:
    """Render the store of a point; one that is complete is kept, one that is not is continued.

    Args:
        point: gives the range and the size.
        task: gives the objects.
        folder: of the stores.
        workers: rendering processes; None takes one for each CPU.
    """
    store = folder / f"{point.degrees:g}deg-{point.size}px.h5"
    spec = BuildSpec(
        meshes=task.meshes,
        objects=task.stored,
        views=task.views,
        size=point.size,
        rotation_range=(math.radians(point.degrees),) * 3,
        val_fraction=task.val_fraction,
        classes=list(task.classes),
        encoding="raw",
    )
    build_views(spec, store, workers=workers)
    return store.resolve()


def scaling_run(point: Point, seed: int, store: Path, out: Path, steps: Sequence[int], task: ScalingTask) -> Run:
    """Create the run of one point, scored at each budget that is not scored yet.

    Args:
        point: what is trained.
        seed: of the run, of the choice of objects and of the probes.
        store: of the point.
        out: folder of the runs.
        steps: budgets, ascending.
        task: what all points share.
    """
    folder = seed_folder(out, point.name, seed)
    train = {
        "--out": folder, "--config": "benchmark/supervised", "--seed": seed, "--data.store": store,
        "--data.objects": point.objects, "--data.batch_size": task.batch_size, "--trainer.threads": 1,
        "--method.num_classes": len(task.classes), "--method.rotation": task.rotation,
    }  # fmt: skip
    stages = {}
    for budget in steps:
        if not _kept(folder, budget).is_file():
            stages[f"pretrain {budget}"] = command("pretrain", flags=train | {"--trainer.max_steps": budget})
            stages[f"evaluate {budget}"] = command(
                "evaluate", str(folder), flags=evaluation_flags(task.probe_steps, seed)
            )
            stages[f"keep {budget}"] = [sys.executable, "-m", "equissl.bench.scaling", str(folder)]
    return Run(f"{point.name} seed {seed}", folder, stages, str(_kept(Path(), steps[-1])))


def keep(folder: Path) -> Path:
    """Copy the last results of a run to RUN/curve/STEPS.json, which no later evaluation replaces."""
    results = read_results(folder)
    return write_json(_kept(folder, results["steps"]), results)


def _kept(folder: Path, steps: int) -> Path:
    return folder / CURVE / f"{steps}.json"


def read_rows(out: Path) -> list[dict[str, Any]]:
    """Read the scores of all runs, a row for each point, seed and budget, angles in degrees.

    Args:
        out: folder of the runs.
    """
    rows = []
    for file in out.glob(f"*/seed*/{CURVE}/*.json"):
        point, seed = Point.named(file.parents[2].name), file.parents[1].name.removeprefix("seed")
        if point is not None:
            found = json.loads(file.read_text(encoding="utf-8"))
            budget = {"seed": int(seed), "steps": found["steps"], "views_seen": found["views_seen"]}
            rows.append(asdict(point) | budget | {name: found[key] for name, key in SCORES.items()})
    return sorted(rows, key=lambda row: list(row.values())[:5])


def found_points(rows: Sequence[dict[str, Any]]) -> list[Point]:
    """Return the points of rows, each once.

    Args:
        rows: scores.
    """
    return [*dict.fromkeys(Point(row["degrees"], row["objects"], row["size"]) for row in rows)]


def rows_of(rows: Sequence[dict[str, Any]], point: Point) -> list[dict[str, Any]]:
    """Return the rows of one point.

    Args:
        rows: of all points.
        point: whose.
    """
    return [row for row in rows if all(row[name] == value for name, value in asdict(point).items())]


def curve(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return (views seen, degrees below the constant predictor), means over seeds, of one point.

    Args:
        rows: of that point.
    """
    gains: dict[float, list[float]] = {}
    for row in rows:
        gains.setdefault(row["views_seen"], []).append(row["constant"] - row["error"])
    return [(views, statistics.mean(values)) for views, values in sorted(gains.items())]


def describe(rows: Sequence[dict[str, Any]]) -> Measured:
    """Format the gain of one point by budget, and the views at which its fitted curve reaches the goal.

    Args:
        rows: of that point.
    """
    found = curve(rows)
    needed = budget_for(found, GOAL)
    line = ", ".join(f"{gain:.1f}° at {views:,.0f} views" for views, gain in found)
    reached = f"{GOAL:g}° at {needed:,.0f} by the fit" if needed and math.isfinite(needed) else "no rise to fit"
    return Measured(f"below the constant predictor by {line}; {reached}", list(rows))


def panels(rows: Sequence[dict[str, Any]], base: Point) -> list[Panel]:
    """Make a panel for each thing that was varied, or one of the base: gain over views seen, a line for each value.

    Args:
        rows: scores.
        base: the point that all lines but one differ from in one thing.
    """
    found = found_points(rows)
    chosen = {
        thing: [p for p in found if replace(p, **{thing[0]: getattr(base, thing[0])}) == base] for thing in THINGS
    }
    varied = [thing for thing in THINGS if len(chosen[thing]) > 1] or THINGS[:1]
    return [_panel(rows, thing, chosen[thing]) for thing in varied]


def _panel(rows: Sequence[dict[str, Any]], thing: tuple[str, str, str], chosen: Sequence[Point]) -> Panel:
    name, title, unit = thing
    lines = [
        Series(unit.format(getattr(p, name)), colour, curve(rows_of(rows, p)), dots=True)
        for p, colour in zip(chosen, COLOURS, strict=False)
    ]
    return Panel(title, "views seen", "degrees below the constant predictor", lines + _references(rows))


def _references(rows: Sequence[dict[str, Any]]) -> list[Series]:
    ends = [min(row["views_seen"] for row in rows), max(row["views_seen"] for row in rows)]
    return [
        Series(name, colour, [(x, y) for x in ends], dashed=True)
        for name, colour, y in (("constant predictor", "#5f6772", 0.0), (f"{GOAL:g}° below it", "#b3261e", GOAL))
    ]


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
