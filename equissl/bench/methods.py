"""Every method of ``configs/benchmark`` at one budget, several seeds each, under one evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from equissl.util.jobs import Job, cpu_count, run_jobs


def benchmark_methods() -> list[str]:
    """Names of the packaged benchmark configs."""
    folder = Path(str(resources.files("equissl.configs"))) / "benchmark"
    return sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_"))


def bench_methods(
    store: Path | str,
    out: Path | str = "runs/benchmark",
    methods: Sequence[str] | None = None,
    seeds: int = 3,
    steps: int = 400,
    probe_steps: int = 1000,
    batch_size: int = 128,
    parallel: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Pretrains and evaluates every method, and prints the table with mean and standard deviation over seeds.

    Runs are OUT/METHOD/seed0, seed1 …; started again it goes on where it stopped. The same folders go to
    ``equissl report OUT/*/seed* --out FILE.html``.

    Args:
        store: view store, such as the demo's.
        out: folder of the runs and of ``report.html``.
        methods: names of configs in ``configs/benchmark``; None takes all of them.
        seeds: runs of each method.
        steps: optimiser steps of each run.
        probe_steps: updates of each probe.
        batch_size: objects in a batch, two views of each.
        parallel: runs at a time, one thread each; None takes one for each CPU.
        say: receives progress and the table.

    Returns:
        where the report is.

    Raises:
        ValueError: for an unknown method or no seeds.
    """
    from equissl.reporting import format_table, write_report
    from equissl.reporting.runs import load_runs

    known = benchmark_methods()
    if unknown := [name for name in methods or [] if name not in known]:
        raise ValueError(f"expected methods among {', '.join(known)}, got {', '.join(unknown)}")
    if seeds < 1:
        raise ValueError(f"expected at least 1 seed, got {seeds}")
    store, out = Path(store).resolve(), Path(out)
    # all methods of one seed first, so that a run cut short compares them all
    pairs = [(name, seed) for seed in range(seeds) for name in methods or known]
    jobs = [_job(name, seed, out, store, (steps, batch_size, probe_steps)) for name, seed in pairs]
    run_jobs([job for job in jobs if not job.finished], parallel or cpu_count(), say)
    folders = [out / name / f"seed{seed}" for name, seed in pairs]
    say("\n" + format_table([run.results for run in load_runs(folders)]) + "\n")
    return {"report": str(write_report(folders, out / "report.html", store))}


def _job(name: str, seed: int, out: Path, store: Path, budget: tuple[int, int, int]) -> Job:
    steps, batch_size, probe_steps = budget
    run = out / name / f"seed{seed}"
    program = [sys.executable, "-m", "equissl"]
    pretrain = {
        "--config": f"benchmark/{name}", "--out": run, "--seed": seed, "--data.store": store,
        "--data.batch_size": batch_size, "--trainer.max_steps": steps, "--trainer.threads": 1,
    }  # fmt: skip
    evaluate = {
        "--classification.steps": probe_steps, "--rotation.steps": probe_steps, "--standardize": "true",
        "--seed": seed, "--probe_precision": "auto", "--protocols": "[classification,rotation]",
    }  # fmt: skip
    commands = [[*program, "pretrain", *_flags(pretrain)], [*program, "evaluate", str(run), *_flags(evaluate)]]
    done = len(commands) if (run / "results.json").is_file() else 0
    run.parent.mkdir(parents=True, exist_ok=True)
    return Job(f"{name} seed {seed}", commands, out / "logs" / f"{name}-{seed}.log", ["pretrain", "evaluate"], done)


def _flags(values: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
