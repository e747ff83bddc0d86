"""The LiDAR chain on one machine: simulated drives, a scene store, pretraining, diagnostics, a table and a page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from equissl.demo import claim_folder, timed
from equissl.util.jobs import Job, cpu_count, run_jobs

METHODS = ("essl3d", "strl")
DRIVES, LABEL_FREE = "drives.h5", "drives_icp_cluster.h5"


@dataclass
class LidarTask:
    """Everything that makes the demo as easy or hard, and as short or long, as it is.

    Attributes:
        drives, sweeps: simulated drives, and consecutive sweeps of each; a fifth of the drives is held out.
        beams, columns, max_range, rate: of the simulated sensor. At 5 sweeps a second things move by about a ground
            cell between two sweeps, so that flow matters.
        flow: what E-SSL3D learns from: ``icp_cluster``, estimated without labels, or ``simulated``, exact. Evaluation
            takes the exact one either way.
        steps, batch_size: budget of every method.
        pairs, probe_sweeps, rotations: of the evaluation, see :class:`equissl.evaluation.SceneEvaluateConfig`.
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
    out: str | Path = "runs/demo_lidar",
    seed: int = 0,
    task: LidarTask | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Simulates drives, pretrains E-SSL3D and STRL on them with one budget, measures both on others, and reports.

    Started again with the same settings it reuses what is complete and continues what is not.

    Args:
        out: folder of everything that is made: ``drives.h5``, one run folder per method, ``logs`` and ``report.html``.
        seed: of the drives, the runs and the probes.
        task: size; the defaults take at most 15 minutes on two cores.
        say: receives the lines meant for the user.

    Returns:
        the results of every method, in the order of ``METHODS``.

    Raises:
        DemoError: ``out`` holds a demo with other settings.
        JobError: a method failed; with the end of its log.
    """
    from equissl.reporting import format_table, write_report

    started, out, task = time.perf_counter(), Path(out), task or LidarTask()
    claim_folder(out, {"seed": seed, **asdict(task)})
    say(_plan(out, task, seed))
    times = {"simulate": timed(lambda: simulate(out / DRIVES, task, seed, say))}
    if task.flow == "icp_cluster":
        times["scene flow"] = timed(lambda: estimate_flow(out / DRIVES, out / LABEL_FREE, say))
    jobs = [method_job(name, out, task, seed) for name in METHODS]
    times["pretrain and evaluate"] = timed(
        lambda: run_jobs([job for job in jobs if not job.finished], cpu_count(), say)
    )
    runs = [out / name for name in METHODS]
    results = [json.loads((run / "results.json").read_text(encoding="utf-8")) for run in runs]
    times["report"] = timed(lambda: write_report(runs, out / "report.html", out / DRIVES))
    say("\nScored on drives that no method has seen:\n\n" + format_table(results) + "\n")
    say(READING)
    spent = {**times, **{f"{job.name} {stage}": s for job in jobs for stage, s in job.seconds.items()}}
    say("\n".join(f"{stage:>24}: {seconds:6.1f} s" for stage, seconds in spent.items()))
    say(f"Total {time.perf_counter() - started:.0f} s. Open {out / 'report.html'} in a browser.")
    return results


READING = """Errors: 0 is exact, 1 is as far as unrelated cells of the same scenes. `no motion` ignores the scene flow,
`moving` are cells that moving things came to; rotation accuracy is a linear probe's, `wedge` with the shortcut.
"""


def simulate(store: Path, task: LidarTask, seed: int, say: Callable[[str], None] = print) -> None:
    """The drives as a scene store; one that is there is kept."""
    from equissl.datasets.drives.simulated import DriveOptions
    from equissl.datasets.drives.simulated.store import simulate_drives
    from equissl.datasets.drives.store import SceneStore

    if store.is_file():
        say(f"{SceneStore(store).num_sweeps} sweeps were there already.")
        return
    started = time.perf_counter()
    options = DriveOptions(beams=task.beams, columns=task.columns, max_range=task.max_range, rate=task.rate)
    simulate_drives(store, task.drives, task.sweeps, seed, options, workers=cpu_count())
    say(f"{task.drives} drives of {task.sweeps} sweeps simulated in {time.perf_counter() - started:.0f} s.")


def estimate_flow(store: Path, out: Path, say: Callable[[str], None] = print) -> None:
    """A copy of the store with flow estimated without labels; one that is there is kept."""
    from equissl.scene_flow.annotate import write_flow_store

    if out.is_file():
        say("Its scene flow was there already.")
        return
    report = write_flow_store(store, out, "icp_cluster")
    say(f"Scene flow of {report.pairs} pairs estimated without labels (icp_cluster) in {report.seconds:.0f} s.")


def method_job(name: str, out: Path, task: LidarTask, seed: int) -> Job:
    """Pretraining and evaluation of one packaged ``demo_NAME`` config; finished where its results are there."""
    run, program = out / name, [sys.executable, "-m", "equissl.cli"]
    pretrain = {
        "--config": f"demo_{name}", "--out": run, "--seed": seed,
        "--data.store": out / (LABEL_FREE if task.flow == "icp_cluster" else DRIVES),
        "--data.batch_size": task.batch_size, "--trainer.max_steps": task.steps, "--trainer.threads": 1,
    }  # fmt: skip
    evaluate = {
        "--store": out / DRIVES, "--pairs": task.pairs, "--sweeps": task.probe_sweeps,
        "--rotations": task.rotations, "--seed": seed,
    }  # fmt: skip
    commands = [[*program, "pretrain", *_flags(pretrain)], [*program, "evaluate", str(run), *_flags(evaluate)]]
    finished = len(commands) if (run / "results.json").is_file() else 0
    return Job(name, commands, out / "logs" / f"{name}.log", ["pretrain", "evaluate"], done=finished)


def _flags(values: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _plan(out: Path, task: LidarTask, seed: int) -> str:
    flow = "estimated without labels (icp_cluster)" if task.flow == "icp_cluster" else "exact, from the simulator"
    return (
        f"LiDAR demo in {out} (seed {seed}, {cpu_count()} cores):\n"
        f"  1. simulate {task.drives} drives of {task.sweeps} sweeps, {task.beams} beams, {task.columns} columns\n"
        f"  2. pretrain {', '.join(METHODS)}: {task.steps} steps of {task.batch_size} pairs of sweeps each; scene flow "
        f"{flow}\n"
        f"  3. measure equivariance and rotation on unseen drives, before and after\n"
        f"  4. write {out / 'report.html'}"
    )
