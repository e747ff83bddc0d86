"""Benchmark of pretraining for a detector: starting points x shares of labels x seeds, at a budget for CPUs."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from equissl.bench.record import Measured
from equissl.bench.sweep import (
    Run,
    command,
    grid,
    run_sweep,
    seed_folder,
    trained_and_evaluated,
    write_table,
)
from equissl.datasets.drives.simulated.options import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.sweeps.config import SweepsData
from equissl.runs.checkpoint import OURS, read_checkpoint
from equissl.runs.configfile import load_config
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
        pretrain_steps, pretrain_batch, pretrain_lr: budget of pretraining.
        pretrain_seeds: pretraining runs of each method; a detector of seed s starts from run s modulo that number.
            None makes one for every seed.
        steps: of every detector, whatever its share of labels.
        encoder_scale: learning rate of backbones that were pretrained, as a multiple of that of the other layers.
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
    pretrain_steps: int = 300
    pretrain_batch: int = 4
    pretrain_lr: float = 1e-3
    pretrain_seeds: int | None = None
    steps: int = 300
    encoder_scale: float = 1.0
    frozen: bool = False


DEFAULT_TASK = DetectionTask()


def bench_detection(
    out: Path | str = "runs/detection",
    store: Path | str | None = None,
    labels: str = "0.05,0.2,1",
    seeds: int = 3,
    methods: str = "scratch,E-SSL3D,STRL,PointContrast",
    task: DetectionTask = DEFAULT_TASK,
    parallel: int | None = None,
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
        methods: starting points, separated by commas: ``scratch``, or names of pretraining methods.
        task: data and budget.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        the table, mean gains over training from scratch, and where the report is.

    Raises:
        ValueError: for an unknown method, no seeds, or shares that are no numbers.
        CommandError: a run failed; with the end of its log.
    """
    names, shares = methods.split(","), [float(share) for share in labels.split(",")]
    if unknown := [name for name in names if name not in (SCRATCH, *RECIPES)]:
        raise ValueError(f"expected methods among {SCRATCH}, {', '.join(RECIPES)}, got {', '.join(unknown)}")
    pretrain_seeds = seeds if task.pretrain_seeds is None else task.pretrain_seeds
    cells = grid([(share, name) for share in shares for name in names], seeds)
    pretrained = [cell for cell in grid(names, pretrain_seeds) if cell[0] != SCRATCH]
    out, workers = Path(out), parallel or usable_cores()
    data = Path(store).resolve() if store is not None else _simulated(out / DRIVES, task, workers)
    with_flow = _with_flow(data, out / WITH_FLOW, task) if "E-SSL3D" in names else data
    sources = {name: with_flow if name == "E-SSL3D" else data for name in names}
    runs = [_pretraining(name, seed, out, sources[name], task) for name, seed in pretrained]
    run_sweep([run for run in runs if _steps(run.folder) < task.pretrain_steps], out / "logs", workers)
    run_sweep([_finetuning(name, share, seed, out, data, task) for (share, name), seed in cells], out / "logs", workers)
    # by share, then method: those to be compared stand together
    folders = [_folder(out, name, share, seed) for share in shares for name in names for seed in range(seeds)]
    return {**write_table(folders, out, data), "gains": _gains(out, shares, names, seeds)}


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


def _pretraining(name: str, seed: int, out: Path, store: Path, task: DetectionTask) -> Run:
    folder = seed_folder(out / "pretrain", name, seed)
    detector = load_config(task.config)
    options, points = detector.method.init_args, cast(SweepsData, detector.data).max_points
    encoder = options["encoder"] | {"norm_momentum": options["norm_momentum"]}
    flags = {
        "--config": RECIPES[name], "--out": folder, "--seed": seed, "--data.store": store,
        "--data.batch_size": task.pretrain_batch, "--optim.lr": task.pretrain_lr,
        "--trainer.max_steps": task.pretrain_steps, "--trainer.threads": 1, "--trainer.loggers": "[csv]",
        "--data.max_points": json.dumps(points),
        **{f"--method.init_args.encoder.{key}": json.dumps(encoder[key]) for key in
           ("backbone", "point_range", "voxel_size", "max_points", "in_channels", "coordinates", "norm_momentum")},
    }  # fmt: skip
    return Run(f"{name} seed {seed}", folder, {"pretrain": command("pretrain", flags=flags)})


def _finetuning(name: str, share: float, seed: int, out: Path, store: Path, task: DetectionTask) -> Run:
    folder = _folder(out, name, share, seed)
    flags: dict[str, Any] = {
        "--config": task.config, "--seed": seed, "--data.store": store, "--labels": share,
        "--label_seed": seed, "--trainer.max_steps": task.steps, "--trainer.threads": 1,
        "--trainer.loggers": "[csv]", "--method.init_args.frozen": str(task.frozen).lower(),
    }  # fmt: skip
    if name != SCRATCH:
        start = seed if task.pretrain_seeds is None else seed % task.pretrain_seeds
        flags["--init"] = seed_folder(out / "pretrain", name, start)
        flags["--optim.encoder_scale"] = task.encoder_scale
    return trained_and_evaluated(f"{folder.parent.name} seed {seed}", folder, flags, {}, "finetune")


def _steps(run: Path) -> int:
    """Return the steps that a run has behind it."""
    return read_checkpoint(run / LAST, mmap=True)[OURS]["step"] if (run / LAST).is_file() else 0


def _gains(out: Path, labels: Sequence[float], methods: Sequence[str], seeds: int) -> Measured:
    """Compute mean 3D AP above that of training from scratch, seed by seed: the choice of labels adds alike to both."""
    if SCRATCH not in methods or seeds < 2:
        return Measured("", {})
    numbers: dict[str, dict[str, list[float]]] = {}
    lines = [f"mean 3D AP above {SCRATCH}, of {seeds} pairs with the same labels:"]
    for share in labels:
        for name in methods:
            if name == SCRATCH:
                continue
            scores = [[_score(_folder(out, kind, share, seed)) for kind in (name, SCRATCH)] for seed in range(seeds)]
            gains = [a - b for a, b in scores]
            spread = statistics.stdev(gains)
            numbers.setdefault(f"{100 * share:g} %", {})[name] = gains
            lines.append(f"  {100 * share:>5g} %  {name:<14} {statistics.fmean(gains):+.1f} ± {spread:.1f}")
    return Measured("\n".join(lines), numbers)


def _score(run: Path) -> float:
    return float(Run("", run, {}).results()["detection/mean/3d_ap"])
