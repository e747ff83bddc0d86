"""Demo of the LiDAR chain: simulated drives, a drive store, pretraining, diagnostics, a table and a page."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from equissl.bench.sweep import Run, run_and_report, timed, trained_and_evaluated
from equissl.datasets.drives.simulated import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.drives.store.store import DriveStore
from equissl.demo import claim_folder
from equissl.scene_flow.annotate import write_flow_store
from equissl.util.processes import usable_cores

METHODS = ("essl3d", "strl")
DRIVES, LABEL_FREE = "drives.h5", "drives_icp_cluster.h5"
logger = logging.getLogger(__name__)


@dataclass
class LidarTask:
    """Difficulty and length of the demo.

    Attributes:
        drives, sweeps: simulated drives, and consecutive sweeps of each; a fifth of the drives is held out.
        beams, columns, max_range, rate: of the simulated sensor. At 5 sweeps a second things move by about a ground
            cell between two sweeps, so that flow matters.
        flow: what E-SSL3D learns from: ``icp_cluster``, estimated without labels, or ``simulated``, exact. Evaluation
            takes the exact one either way.
        steps, batch_size: budget of every method.
        pairs, probe_sweeps, rotations: of the evaluation, see :class:`equissl.evaluation.DriveEvaluateConfig`.
    """

    drives: int = 48
    sweeps: int = 5
    beams: int = 24
    columns: int = 500
    max_range: float = 40.0
    rate: float = 5.0
    flow: Literal["icp_cluster", "simulated"] = "icp_cluster"
    steps: int = 60
    batch_size: int = 6
    pairs: int = 24
    probe_sweeps: int = 40
    rotations: int = 4


def run_lidar_demo(
    out: str | Path = "runs/demo_lidar", seed: int = 0, task: LidarTask | None = None
) -> list[dict[str, Any]]:
    """Simulate drives, pretrain E-SSL3D and STRL on them with one budget, measure both on others, and report.

    Started again with the same settings it reuses what is complete and continues what is not.

    Args:
        out: folder of everything that is made: ``drives.h5``, one run folder per method, ``logs`` and ``report.html``.
        seed: of the drives, the runs and the probes.
        task: size; the defaults take at most 15 minutes on two cores.

    Returns:
        the results of every method, in the order of ``METHODS``.

    Raises:
        DemoError: ``out`` holds a demo with other settings.
        CommandError: a method failed; with the end of its log.
    """
    out, task = Path(out), task or LidarTask()
    claim_folder(out, {"seed": seed, **asdict(task)})
    logger.info(_plan(out, task, seed))
    times = {"simulate": timed(lambda: simulate(out / DRIVES, task, seed))}
    if task.flow == "icp_cluster":
        times["scene flow"] = timed(lambda: estimate_flow(out / DRIVES, out / LABEL_FREE))
    runs = [method_run(name, out, task, seed) for name in METHODS]
    return run_and_report(runs, out, out / DRIVES, f"{READING}Scored on drives that no method has seen:", times)


READING = """Errors: 0 is exact, 1 is as far as unrelated cells of the same scenes. `no motion` ignores the scene flow,
`moving` are cells that moving things came to; rotation accuracy is a linear probe's, `wedge` with the shortcut.
"""


def simulate(store: Path, task: LidarTask, seed: int) -> None:
    """Simulate the drives as a drive store; one that is there is kept.

    Args:
        store: the file.
        task: of the demo.
        seed: of the drives.
    """
    if store.is_file():
        logger.info("%d sweeps were there already.", DriveStore(store).num_sweeps)
        return
    started = time.perf_counter()
    options = DriveOptions(beams=task.beams, columns=task.columns, max_range=task.max_range, rate=task.rate)
    simulate_drives(store, task.drives, task.sweeps, seed, options, workers=usable_cores())
    seconds = time.perf_counter() - started
    logger.info("%d drives of %d sweeps simulated in %.0f s.", task.drives, task.sweeps, seconds)


def estimate_flow(store: Path, out: Path) -> None:
    """Copy the store with flow estimated without labels; a copy that is there is kept.

    Args:
        store: drive store.
        out: the copy.
    """
    if out.is_file():
        logger.info("Its scene flow was there already.")
        return
    report = write_flow_store(store, out, "icp_cluster")
    logger.info("Scene flow of %d pairs estimated without labels in %.0f s.", report.pairs, report.seconds)


def method_run(name: str, out: Path, task: LidarTask, seed: int) -> Run:
    """Create the run of one packaged ``demo_NAME`` config: pretraining and evaluation.

    Args:
        name: of the method.
        out: folder of the demo.
        task: of the demo.
        seed: of the run and the probes.
    """
    pretrain = {
        "--config": f"demo_{name}", "--seed": seed,
        "--data.store": out / (LABEL_FREE if task.flow == "icp_cluster" else DRIVES),
        "--data.batch_size": task.batch_size, "--trainer.max_steps": task.steps, "--trainer.threads": 1,
    }  # fmt: skip
    evaluate = {
        "--store": out / DRIVES, "--pairs": task.pairs, "--sweeps": task.probe_sweeps,
        "--rotations": task.rotations, "--seed": seed,
    }  # fmt: skip
    return trained_and_evaluated(name, out / name, pretrain, evaluate)


def _plan(out: Path, task: LidarTask, seed: int) -> str:
    flow = "estimated without labels (icp_cluster)" if task.flow == "icp_cluster" else "exact, from the simulator"
    return (
        f"LiDAR demo in {out} (seed {seed}, {usable_cores()} cores):\n"
        f"  1. simulate {task.drives} drives of {task.sweeps} sweeps, {task.beams} beams, {task.columns} columns\n"
        f"  2. pretrain {', '.join(METHODS)}: {task.steps} steps of {task.batch_size} pairs of sweeps each; scene flow "
        f"{flow}\n"
        f"  3. measure equivariance and rotation on unseen drives, before and after\n"
        f"  4. write {out / 'report.html'}"
    )
