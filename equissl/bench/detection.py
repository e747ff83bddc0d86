"""Benchmark of pretraining for a detector: starting points x shares of labels x seeds, at a budget for CPUs."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from equissl.bench.record import Measured
from equissl.bench.sweep import (
    Run,
    budget_for,
    command,
    grid,
    paired_difference,
    run_sweep,
    seed_folder,
    trained_and_evaluated,
    write_table,
)
from equissl.datasets.drives.config import DrivesData
from equissl.datasets.drives.simulated.options import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.sweeps.config import SweepsData
from equissl.runs.checkpoint import OURS, read_checkpoint
from equissl.runs.configfile import load_config
from equissl.runs.log import seconds_a_step
from equissl.scene_flow.annotate import write_flow_store
from equissl.util.processes import usable_cores
from equissl.util.runfolder import LAST

SCRATCH = "scratch"
# what a method is called in tables, and its recipe
RECIPES = {
    "E-SSL3D": "lidar/e_ssl3d_small",
    "STRL": "lidar/strl_small",
    "PointContrast": "lidar/point_contrast_small",
    "BEVContrast": "lidar/bev_contrast_small",
    "DepthContrast": "lidar/depth_contrast_small",
    "Occupancy": "lidar/occupancy_small",
}
GOAL = 5.0  # mean 3D AP above scratch
DRIVES, WITH_FLOW = "drives.h5", "drives_flow.h5"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectionTask:
    """Data and budget.

    Attributes:
        drives, sweeps: simulated drives, and consecutive sweeps of each; a fifth of the drives is held out.
        beams, columns, max_range, rate: of the simulated sensor.
        flow: of E-SSL3D: ``icp_cluster``, estimated without labels, or ``stored``, that of the store.
        config: recipe of the detector; pretraining takes over its voxels, and how many points of a sweep it sees.
        pretrain_store: drives to pretrain on, without their labels; None takes those of detection.
        pretrain_steps, pretrain_batch, pretrain_lr: budget of pretraining.
        pretrain_seeds: pretraining runs of each method; a detector of seed s starts from run s modulo that number.
            None makes one for every seed.
        steps: of every detector, whatever its share of labels.
        encoder_scale: learning rate of backbones that were pretrained, as a multiple of that of the other layers.
        scratch_scale: the same of backbones from scratch, whose best rate may be another.
        frozen: train neck and head alone.
    """

    drives: int = 60
    sweeps: int = 5
    beams: int = 32
    columns: int = 720
    max_range: float = 40.0
    rate: float = 5.0
    flow: str = "icp_cluster"
    config: str = "detection/second_small"
    pretrain_store: str | None = None
    pretrain_steps: int = 300
    pretrain_batch: int = 4
    pretrain_lr: float = 1e-3
    pretrain_seeds: int | None = None
    steps: int = 300
    encoder_scale: float = 1.0
    scratch_scale: float = 1.0
    frozen: bool = False


DEFAULT_TASK = DetectionTask()


@dataclass(frozen=True)
class Start:
    """Starting point of detectors: scratch, or a method pretrained for some steps.

    Attributes:
        name: in tables and of folders.
        recipe: of pretraining; None starts from scratch.
        steps: of pretraining.
    """

    name: str
    recipe: str | None
    steps: int


def bench_detection(
    out: Path | str = "runs/detection",
    store: Path | str | None = None,
    labels: str = "0.05,0.2,1",
    seeds: int = 3,
    methods: str = "scratch,E-SSL3D,STRL,PointContrast",
    task: DetectionTask = DEFAULT_TASK,
    parallel: int | None = None,
    first: int = 0,
) -> dict[str, str]:
    """Pretrain, fine-tune and evaluate every combination.

    A seed is that of the pretraining (see ``pretrain_seeds``), of the detector's other weights and order, and of the
    choice of labels: all methods of one seed learn from the same labels. Runs are ``OUT/METHOD_SHARE/seed0`` and so on,
    pretraining ``OUT/pretrain/METHOD/seed0``; started again it goes on where it stopped.

    Args:
        out: folder of everything, ``drives.h5`` and ``report.html`` included.
        store: drive store to learn from and to be scored on; None simulates drives.
        labels: shares, separated by commas.
        seeds: runs of each combination.
        methods: starting points, separated by commas: ``scratch``, names of pretraining methods, or files of recipes;
            ``E-SSL3D@500`` pretrains 500 steps instead of ``task.pretrain_steps``.
        task: data and budget.
        parallel: runs at a time, one thread each; None takes one for each CPU.
        first: seed of the first run.

    Returns:
        the table, mean gains over training from scratch with their standard errors, their rise with the steps of
        pretraining, where a method was given several lengths, and where the report is.

    Raises:
        ValueError: for an unknown method, no seeds, steps that are no number, or shares that are no numbers.
        CommandError: a run failed; with the end of its log.
    """
    starts, shares = [parse_start(word, task) for word in methods.split(",")], [float(s) for s in labels.split(",")]
    if task.pretrain_seeds is not None and task.pretrain_seeds < 1:
        raise ValueError(f"expected at least 1 run of pretraining, got pretrain_seeds {task.pretrain_seeds}")
    names, every = [start.name for start in starts], range(first, first + seeds)
    cells = [(*cell, first + place) for cell, place in grid([(s, start) for s in shares for start in starts], seeds)]
    out, workers = Path(out), parallel or usable_cores()
    data = Path(store).resolve() if store is not None else _simulated(out / DRIVES, task, workers)
    _pretrain([start for start in starts if start.recipe], every, out, data, task, workers)
    run_sweep([_finetuning(start, share, seed, out, data, task) for share, start, seed in cells], out / "logs", workers)
    # by share, then method: those to be compared stand together
    folders = [_folder(out, name, share, seed) for share in shares for name in names for seed in every]
    gains = _gains(out, shares, names, every)
    curves = _curves(starts, gains.numbers, {start: _pretrained(out, start, _pretrained_by(first, task))
                                             for start in starts if start.recipe})  # fmt: skip
    return {**write_table(folders, out, data), "gains": gains, "curves": curves}


def parse_start(word: str, task: DetectionTask) -> Start:
    """Return the starting point that a word names: ``scratch``, a method or a recipe's file, and ``@`` its steps.

    Args:
        word: such as ``E-SSL3D@500``.
        task: whose steps of pretraining hold where the word names none.

    Raises:
        ValueError: for an unknown method, or steps that are no number above 0.
    """
    name, at, steps = word.partition("@")
    recipe = RECIPES.get(name, name if name.endswith(".yaml") else None)
    if recipe is None and word != SCRATCH:
        raise ValueError(f"expected methods among {SCRATCH}, {', '.join(RECIPES)} or a recipe's .yaml, got {word}")
    if at and not (steps.isdecimal() and int(steps)):
        raise ValueError(f"expected the steps of pretraining behind @, got {word}")
    return Start(word if name in (SCRATCH, *RECIPES) else Path(name).stem + word.removeprefix(name), recipe,
                 int(steps or task.pretrain_steps))  # fmt: skip


def _pretrain(
    starts: Sequence[Start], seeds: Sequence[int], out: Path, data: Path, task: DetectionTask, workers: int
) -> None:
    """Pretrain what is not there yet, on the drives of detection or on others."""
    drives = data if task.pretrain_store is None else Path(task.pretrain_store).resolve()
    flow = {start: cast(DrivesData, load_config(str(start.recipe)).data).flow for start in starts}
    with_flow = _with_flow(drives, out / WITH_FLOW, task) if "stored" in flow.values() else drives
    runs = [
        _pretraining(start, seed, out, with_flow if flow[start] == "stored" else drives, task)
        for start, seed in dict.fromkeys((start, _pretrained_by(seed, task)) for seed in seeds for start in starts)
        if _steps(_pretrained(out, start, seed)) < start.steps
    ]
    run_sweep(runs, out / "logs", workers)


def _pretrained_by(seed: int, task: DetectionTask) -> int:
    """Return the seed of the pretraining that the detector of a seed starts from."""
    return seed if task.pretrain_seeds is None else seed % task.pretrain_seeds


def _pretrained(out: Path, start: Start, seed: int) -> Path:
    return seed_folder(out / "pretrain", start.name, seed)


def _simulated(store: Path, task: DetectionTask, workers: int) -> Path:
    if not store.is_file():
        logger.info("simulating %d drives of %d sweeps", task.drives, task.sweeps)
        options = DriveOptions(beams=task.beams, columns=task.columns, max_range=task.max_range, rate=task.rate)
        simulate_drives(store, task.drives, task.sweeps, 0, options, workers)
    return store.resolve()


def _with_flow(store: Path, out: Path, task: DetectionTask) -> Path:
    """Return the store with the flow that E-SSL3D learns from, and write it at the first call."""
    if task.flow == "stored":
        return store
    if not out.is_file():
        report = write_flow_store(store, out, task.flow)
        logger.info("scene flow of %d pairs by %s in %.0f s", report.pairs, task.flow, report.seconds)
    return out.resolve()


def _folder(out: Path, method: str, share: float, seed: int) -> Path:
    return seed_folder(out, f"{method}_{100 * share:g}%", seed)


def _pretraining(start: Start, seed: int, out: Path, store: Path, task: DetectionTask) -> Run:
    folder = _pretrained(out, start, seed)
    detector = load_config(task.config)
    options, points = detector.method.init_args, cast(SweepsData, detector.data).max_points
    encoder = options["encoder"] | {"norm_momentum": options["norm_momentum"]}
    flags = {
        "--config": start.recipe, "--out": folder, "--seed": seed, "--data.store": store,
        "--data.batch_size": task.pretrain_batch, "--optim.lr": task.pretrain_lr,
        "--trainer.max_steps": start.steps, "--trainer.threads": 1, "--trainer.loggers": "[csv]",
        "--data.max_points": json.dumps(points),
        **{f"--method.init_args.encoder.{key}": json.dumps(encoder[key]) for key in
           ("backbone", "point_range", "voxel_size", "max_points", "in_channels", "coordinates", "norm_momentum")},
    }  # fmt: skip
    return Run(f"{start.name} seed {seed}", folder, {"pretrain": command("pretrain", flags=flags)})


def _finetuning(start: Start, share: float, seed: int, out: Path, store: Path, task: DetectionTask) -> Run:
    folder = _folder(out, start.name, share, seed)
    flags: dict[str, Any] = {
        "--config": task.config, "--seed": seed, "--data.store": store, "--labels": share,
        "--label_seed": seed, "--trainer.max_steps": task.steps, "--trainer.threads": 1,
        "--trainer.loggers": "[csv]", "--method.init_args.frozen": str(task.frozen).lower(),
        "--optim.encoder_scale": task.encoder_scale if start.recipe else task.scratch_scale,
    }  # fmt: skip
    if start.recipe:
        flags["--init"] = _pretrained(out, start, _pretrained_by(seed, task))
    return trained_and_evaluated(f"{folder.parent.name} seed {seed}", folder, flags, {}, "finetune")


def _steps(run: Path) -> int:
    """Return the steps that a run has behind it."""
    return read_checkpoint(run / LAST, mmap=True)[OURS]["step"] if (run / LAST).is_file() else 0


def _gains(out: Path, labels: Sequence[float], methods: Sequence[str], seeds: Sequence[int]) -> Measured:
    """Compute mean 3D AP above that of training from scratch, seed by seed: the choice of labels adds alike to both."""
    if SCRATCH not in methods or len(seeds) < 2:
        return Measured("", {})
    numbers: dict[str, dict[str, list[float]]] = {}
    lines = [f"mean 3D AP above {SCRATCH}, of {len(seeds)} pairs with the same labels, ± standard error:"]
    for share in labels:
        for name in methods:
            if name == SCRATCH:
                continue
            own, scratch = ([_score(_folder(out, kind, share, seed)) for seed in seeds] for kind in (name, SCRATCH))
            mean, error = paired_difference(own, scratch)
            numbers.setdefault(f"{100 * share:g} %", {})[name] = [a - b for a, b in zip(own, scratch, strict=True)]
            lines.append(f"  {100 * share:>5g} %  {name:<14} {mean:+.1f} ± {error:.1f}")
    return Measured("\n".join(lines), numbers)


def _curves(
    starts: Sequence[Start], gains: Mapping[str, Mapping[str, Sequence[float]]], runs: Mapping[Start, Path]
) -> Measured:
    """Fit a line over log(steps of pretraining) to the gains of each method, and say what `GOAL` would cost by it."""
    numbers: dict[str, dict[str, Any]] = {}
    lines = []
    for recipe in dict.fromkeys(start.recipe for start in starts if start.recipe):
        lengths = sorted((start for start in starts if start.recipe == recipe), key=lambda start: start.steps)
        for share, found in gains.items() if len(lengths) > 1 else ():
            name = lengths[0].name.partition("@")[0]
            rises = rises_by_seed([start.steps for start in lengths], [found[start.name] for start in lengths])
            rise, error = paired_difference(rises, [0.0] * len(rises))
            means = [(float(start.steps), statistics.mean(found[start.name])) for start in lengths]
            needed = budget_for(means, GOAL)
            hours = None if needed is None else needed * seconds_a_step(runs[lengths[-1]]) / 3600
            price = "no rise" if needed is None else f"{GOAL:+g} AP at {needed:.2g} steps, {hours:.2g} core-hours"
            lines.append(f"{name} {share}: {rise:+.2f} ± {error:.2f} AP with each doubling of the steps; {price}")
            numbers[f"{name} {share}"] = {"rises": rises, "steps": needed, "core_hours": hours}
    return Measured("\n".join(lines), numbers)


def rises_by_seed(steps: Sequence[int], gains: Sequence[Sequence[float]]) -> list[float]:
    """Compute the slope of gain over log2(steps) by least squares for each seed; labels add alike to all lengths.

    Args:
        steps: lengths L of pretraining.
        gains: L times one gain for each seed.
    """
    return [float(slope) for slope in np.polyfit(np.log2(steps), np.asarray(gains), 1)[0]]


def _score(run: Path) -> float:
    return float(Run("", run, {}).results()["detection/mean/3d_ap"])
