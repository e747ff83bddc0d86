"""The whole chain on one machine: meshes, rendered views, pretraining, evaluation, a table and a page to look at."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import pi
from pathlib import Path
from typing import Any

from equissl.util.files import write_json
from equissl.util.jobs import Job, cpu_count, run_jobs

METHODS = ("vicreg", "sie", "equicaps", "supervised")


class DemoError(RuntimeError):
    """A demo that cannot be made in the folder given."""


@dataclass
class DemoTask:
    """Everything that makes the demo as easy or hard, and as short or long, as it is.

    Attributes:
        meshes: mesh sources; None takes real furniture together with procedural shapes where the furniture is on this
            machine, and procedural shapes alone elsewhere.
        classes: the classes used; less symmetric ones, since a pose that cannot be seen cannot be measured.
        objects, views, size: objects, views of each, side of the images in pixels.
        rotation_range: half-width in radians of the random rotation about x, y and z. Three times π/2 is the full task.
        val_fraction: share of the objects that no method sees in training.
        val_source: source of those objects, where it is among ``meshes``.
        steps, batch_size: budget of every method.
        classification_steps, rotation_steps: updates of the two probes.
        val_pairs: pairs of views scored per unseen object.
        standardize: probe standardised features, see :class:`equissl.evaluation.EvaluateConfig`.
    """

    meshes: str | None = None
    classes: tuple[str, ...] = (
        "bed", "bookcase_shelf", "cabinet", "car", "chair", "cup_glass", "electronics", "hand_tool", "oven_stove",
        "person", "plug_switch", "sofa",
    )  # fmt: skip
    objects: int = 1000
    views: int = 16
    size: int = 64
    rotation_range: tuple[float, float, float] = (0.0, 0.0, pi / 2)
    val_fraction: float = 0.3
    val_source: str = "sweethome3d"
    steps: int = 400
    batch_size: int = 128
    classification_steps: int = 1000
    rotation_steps: int = 1000
    val_pairs: int = 20
    standardize: bool = True


def run_demo(
    out: str | Path = "runs/demo",
    meshes: str | None = None,
    seed: int = 0,
    task: DemoTask | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Renders a data set, pretrains every method on it with one budget, evaluates them on unseen objects, and reports.

    Started again with the same settings it reuses what is complete and continues what is not.

    Args:
        out: folder of everything that is made: ``views.h5``, one run folder per method, ``logs`` and ``report.html``.
        meshes: mesh sources, see :class:`DemoTask`.
        seed: of the data, the runs and the probes.
        task: size and difficulty; the defaults take at most 15 minutes on two cores.
        say: receives the lines meant for the user.

    Returns:
        the results of every method, in the order of ``METHODS``.

    Raises:
        DemoError: ``out`` holds a demo with other settings.
        JobError: a method failed; with the end of its log.
    """
    from equissl.reporting import format_table, write_report

    started, out = time.perf_counter(), Path(out)
    task = choose_meshes(task or DemoTask(), meshes, say)
    claim_folder(out, {"seed": seed, **asdict(task)})
    say(_plan(out, task, seed))
    times = {"render": timed(lambda: render_views(out / "views.h5", task, seed, say))}
    jobs = [method_job(name, out, task, seed) for name in METHODS]
    times["pretrain and evaluate"] = timed(
        lambda: run_jobs([job for job in jobs if not job.finished], cpu_count(), say)
    )
    runs = [out / name for name in METHODS]
    results = [json.loads((run / "results.json").read_text(encoding="utf-8")) for run in runs]
    times["report"] = timed(lambda: write_report(runs, out / "report.html", out / "views.h5"))
    say("\nScored on objects that no method has seen:\n\n" + format_table(results) + "\n")
    say("\n".join(_seconds(jobs, times)))
    say(f"Total {time.perf_counter() - started:.0f} s. Open {out / 'report.html'} in a browser.")
    return results


def choose_meshes(task: DemoTask, meshes: str | None, say: Callable[[str], None] = print) -> DemoTask:
    """The task with its mesh sources settled; says so where there is only the fallback."""
    from equissl.datasets.meshes import PROCEDURAL_CLASSES, sweethome3d_available
    from equissl.datasets.meshes.sweethome3d import PACKAGE

    wanted = meshes or task.meshes
    if wanted is None:
        wanted = "sweethome3d+procedural" if sweethome3d_available() else "procedural"
        if wanted == "procedural":
            say(f"No real meshes found ({PACKAGE} is not installed): this demo uses procedural shapes only.")
    classes = task.classes
    if wanted == "procedural":
        known = tuple(name for name in task.classes if name in PROCEDURAL_CLASSES)
        classes = known if len(known) > 1 else tuple(PROCEDURAL_CLASSES)
    return replace(task, meshes=wanted, classes=classes)


def claim_folder(out: Path, settings: dict[str, Any]) -> None:
    """Writes the settings into ``out``, or checks that they are those of the demo already there.

    Raises:
        DemoError: naming every setting that differs.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, settings = out / "demo.json", json.loads(json.dumps(settings))
    if path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{key}: {old.get(key)} there, {settings.get(key)} now" for key in sorted({*old, *settings})
                   if old.get(key) != settings.get(key)]  # fmt: skip
        if changed:
            raise DemoError(
                f"{out} holds a demo with other settings ({'; '.join(changed)}); delete it or choose another --out"
            )
        return
    write_json(path, settings)


def render_views(store: Path, task: DemoTask, seed: int, say: Callable[[str], None] = print) -> None:
    """The data set of the demo; one that is complete is kept, one that is not is continued."""
    from equissl.datasets.views.build.builder import BuildSpec, build_views

    meshes = task.meshes or "procedural"
    sources = meshes.split("+")
    spec = BuildSpec(
        meshes=meshes,
        objects=task.objects,
        views=task.views,
        size=task.size,
        seed=seed,
        rotation_range=task.rotation_range,
        val_fraction=task.val_fraction,
        val_source=task.val_source if task.val_source in sources and len(sources) > 1 else None,
        classes=list(task.classes),
        # at this size an object is some 25 pixels wide: edges need the samples, and JPEG would blur them again
        renderer_options={"antialias": 2},
        encoding="raw",
    )
    report = build_views(spec, store, workers=cpu_count())
    done = "were there already" if report.already_complete else f"rendered in {report.seconds:.0f} s"
    say(f"{report.num_images:,} views of {report.num_objects:,} objects {done}.")
    for name, reason in report.skipped:
        say(f"  skipped {name}: {reason}")


def method_job(name: str, out: Path, task: DemoTask, seed: int) -> Job:
    """Pretraining and evaluation of one packaged ``demo_NAME`` config; finished where its results are there."""
    run = out / name
    program = [sys.executable, "-m", "equissl.cli"]
    pretrain = {
        "--config": f"demo_{name}", "--out": run, "--seed": seed, "--data.store": out / "views.h5",
        "--data.batch_size": task.batch_size, "--trainer.max_steps": task.steps, "--trainer.threads": 1,
    }  # fmt: skip
    evaluate = {
        "--protocols": "[classification, rotation]",
        "--classification.steps": task.classification_steps, "--rotation.steps": task.rotation_steps,
        "--rotation.val_pairs": task.val_pairs, "--standardize": str(task.standardize).lower(), "--seed": seed,
        "--probe_precision": "auto",
    }  # fmt: skip
    if name == "equicaps":
        pretrain["--method.image_size"] = task.size
    if name == "supervised":
        pretrain["--method.num_classes"] = len(task.classes)
    commands = [[*program, "pretrain", *_flags(pretrain)], [*program, "evaluate", str(run), *_flags(evaluate)]]
    finished = len(commands) if (run / "results.json").is_file() else 0
    return Job(name, commands, out / "logs" / f"{name}.log", ["pretrain", "evaluate"], done=finished)


def _flags(values: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def timed(work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _plan(out: Path, task: DemoTask, seed: int) -> str:
    degrees = ", ".join(f"±{value * 180 / pi:.0f}°" for value in task.rotation_range)
    return (
        f"Demo in {out} (seed {seed}, {cpu_count()} cores):\n"
        f"  1. render {task.objects:,} objects of {len(task.classes)} classes ({task.meshes}), {task.views} views each "
        f"at {task.size}×{task.size}, rotated by {degrees} about x, y, z\n"
        f"  2. pretrain {', '.join(METHODS)}: {task.steps:,} steps of {task.batch_size} pairs each\n"
        f"  3. probe the frozen features on unseen objects\n"
        f"  4. write {out / 'report.html'}"
    )


def _seconds(jobs: Sequence[Job], times: dict[str, float]) -> list[str]:
    lines = [f"{stage:>24}: {seconds:6.1f} s" for stage, seconds in times.items()]
    return lines + [f"{job.name + ' ' + stage:>24}: {s:6.1f} s" for job in jobs for stage, s in job.seconds.items()]
