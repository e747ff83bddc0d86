"""Demo of the whole chain: meshes, rendered views, pretraining, evaluation, a table and a page."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from math import pi
from pathlib import Path
from typing import Any

from equissl.bench.sweep import Run, objects_in_step, run_and_report, timed, trained_and_evaluated
from equissl.datasets.meshes import PROCEDURAL_CLASSES, sweethome3d_available
from equissl.datasets.meshes.sweethome3d import ORIENTED_CLASSES, PACKAGE
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.util.files import write_json
from equissl.util.parts_folder import differences
from equissl.util.processes import usable_cores

METHODS = ("vicreg", "sie", "equicaps", "group_equivariant", "supervised")
logger = logging.getLogger(__name__)


class DemoError(RuntimeError):
    """A demo that cannot be made in the folder given."""


@dataclass
class DemoTask:
    """Difficulty and length of the demo.

    Attributes:
        meshes: mesh sources; None takes real furniture together with procedural shapes where the furniture is on this
            machine, and procedural shapes alone elsewhere.
        classes: the classes used.
        objects, views, size: objects, views of each, side of the images in pixels.
        rotation_range: half-width in radians of the random rotation about x, y and z. Three times π/2 is the full task.
        val_fraction: share of the objects that no method sees in training.
        val_source: source of those objects, where it is among ``meshes``.
        steps, batch_size: budget of every method, in steps and pairs of views; methods of more views get fewer objects.
        classification_steps, rotation_steps: updates of the two probes.
        val_pairs: pairs of views scored per unseen object.
        standardize: probe standardised features, see :class:`equissl.evaluation.EvaluateConfig`.
    """

    meshes: str | None = None
    classes: tuple[str, ...] = ORIENTED_CLASSES
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
    out: str | Path = "runs/demo", meshes: str | None = None, seed: int = 0, task: DemoTask | None = None
) -> list[dict[str, Any]]:
    """Render a data set, pretrain every method on it with one budget, evaluate them on unseen objects, and report.

    Started again with the same settings it reuses what is complete and continues what is not.

    Args:
        out: folder of everything that is made: ``views.h5``, one run folder per method, ``logs`` and ``report.html``.
        meshes: mesh sources, see :class:`DemoTask`.
        seed: of the data, the runs and the probes.
        task: size and difficulty; the defaults take at most 15 minutes on two cores.

    Returns:
        the results of every method, in the order of ``METHODS``.

    Raises:
        DemoError: ``out`` holds a demo with other settings.
        CommandError: a method failed; with the end of its log.
    """
    out = Path(out)
    task = choose_meshes(task or DemoTask(), meshes)
    claim_folder(out, {"seed": seed, **asdict(task)})
    logger.info(_plan(out, task, seed))
    times = {"render": timed(lambda: render_views(out / "views.h5", task, seed))}
    runs = [method_run(name, out, task, seed) for name in METHODS]
    return run_and_report(runs, out, out / "views.h5", "Scored on objects that no method has seen:", times)


def choose_meshes(task: DemoTask, meshes: str | None) -> DemoTask:
    """Settle the mesh sources of a task.

    Args:
        task: to start from.
        meshes: mesh sources in place of the task's.
    """
    wanted = meshes or task.meshes
    if wanted is None:
        wanted = "sweethome3d+procedural" if sweethome3d_available() else "procedural"
        if wanted == "procedural":
            logger.warning("No real meshes found (%s is not installed): procedural shapes only.", PACKAGE)
    classes = task.classes
    if wanted == "procedural":
        known = tuple(name for name in task.classes if name in PROCEDURAL_CLASSES)
        classes = known if len(known) > 1 else tuple(PROCEDURAL_CLASSES)
    return replace(task, meshes=wanted, classes=classes)


def claim_folder(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings into ``out``, or check that they are those of the demo already there.

    Args:
        out: folder of the demo.
        settings: plain JSON values.

    Raises:
        DemoError: naming every setting that differs.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, settings = out / "demo.json", json.loads(json.dumps(settings))
    if path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        if changed := differences(old, settings):
            raise DemoError(f"{out} holds a demo with other settings; delete it or choose another --out:\n{changed}")
        return
    write_json(path, settings)


def render_views(store: Path, task: DemoTask, seed: int) -> None:
    """Render the data set of the demo; one that is complete is kept, one that is not is continued.

    Args:
        store: the file.
        task: of the demo.
        seed: of the data.
    """
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
        encoding="raw",  # at this size an object is some 25 pixels wide: JPEG would blur its edges
    )
    report = build_views(spec, store, workers=usable_cores())
    done = "were there already" if report.already_complete else f"rendered in {report.seconds:.0f} s"
    logger.info("%d views of %d objects %s.", report.num_images, report.num_objects, done)


def method_run(name: str, out: Path, task: DemoTask, seed: int) -> Run:
    """Create the run of one packaged ``demo_NAME`` config: pretraining and evaluation.

    Args:
        name: of the method.
        out: folder of the demo.
        task: of the demo.
        seed: of the run and the probes.
    """
    pretrain = {
        "--config": f"demo_{name}", "--seed": seed, "--data.store": out / "views.h5",
        "--data.batch_size": objects_in_step(f"demo_{name}", task.batch_size),
        "--trainer.max_steps": task.steps, "--trainer.threads": 1,
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
    return trained_and_evaluated(name, out / name, pretrain, evaluate)


def _plan(out: Path, task: DemoTask, seed: int) -> str:
    degrees = ", ".join(f"±{value * 180 / pi:.0f}°" for value in task.rotation_range)
    return (
        f"Demo in {out} (seed {seed}, {usable_cores()} cores):\n"
        f"  1. render {task.objects:,} objects of {len(task.classes)} classes ({task.meshes}), {task.views} views each "
        f"at {task.size}×{task.size}, rotated by {degrees} about x, y, z\n"
        f"  2. pretrain {', '.join(METHODS)}: {task.steps:,} steps of {task.batch_size} pairs each\n"
        f"  3. probe the frozen features on unseen objects\n"
        f"  4. write {out / 'report.html'}"
    )
