"""Flow equivariant against ordinary recurrent networks on flowing digits, at equal steps.

``equissl bench fernn --digits FOLDER --out runs/fernn`` trains, evaluates and writes OUT/report.html with roll-outs
beside the truth; started again it goes on where it stopped.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from equissl.util.jobs import Job, cpu_count, run_jobs

BASELINE = 0  # the radius of the velocity set {0}


def bench_fernn(
    digits: Path | str,
    out: Path | str = "runs/fernn",
    config: str = "fernn_small",
    radii: Sequence[int] = (1, BASELINE),
    seeds: int = 1,
    steps: int = 1200,
    sequences: int = 256,
    parallel: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, float | str]:
    """Next-frame error, roll-outs to twice the trained length, and velocities never seen, of FERNN and G-RNN.

    All networks have the same parameters, initial weights and batches. Each sees the speeds of the config; each is
    scored on every velocity of the largest set among ``radii``, on digits that no run has seen.

    Args:
        digits: folder of IDX files, such as MNIST's.
        out: folder of the runs and the page.
        config: recipe of ``FERNN``, a file or a packaged one.
        radii: N of the velocity sets V_N to compare; 0 is the baseline G-RNN.
        seeds: runs of each.
        steps: optimiser steps of each run.
        sequences: to score on.
        parallel: runs at a time, one thread each; None takes one for each CPU.
        say: receives progress.

    Returns:
        means over seeds by radius, and how many times lower each error is than the baseline's, where that is among
        ``radii``.

    Raises:
        ValueError: no radii or no seeds.
    """
    from equissl.reporting import format_table, write_report
    from equissl.reporting.runs import load_runs

    if not radii or seeds < 1:
        raise ValueError(f"expected at least one radius and one seed, got {list(radii)} and {seeds}")
    out, store = Path(out), Path(digits).resolve()
    # all networks of one seed first, so that a bench cut short compares them all
    pairs = [(radius, seed) for seed in range(seeds) for radius in radii]
    runs = {pair: out / f"radius{pair[0]}" / f"seed{pair[1]}" for pair in pairs}
    flags = {"--config": config, "--data.store": store, "--trainer.max_steps": steps, "--trainer.threads": 1}
    scored = {"--velocity_radius": max(radii), "--sequences": sequences}
    jobs = [_job(*pair, run, flags, scored) for pair, run in runs.items()]
    run_jobs([job for job in jobs if not job.finished], parallel or cpu_count(), say)
    results = {pair: json.loads((run / "results.json").read_text()) for pair, run in runs.items()}
    say("\n" + format_table([run.results for run in load_runs(list(runs.values()))]) + "\n")
    page = write_report(list(runs.values()), out / "report.html")
    return {**_summary(results, radii, seeds), "report": str(page)}


def _summary(
    results: dict[tuple[int, int], dict[str, Any]], radii: Sequence[int], seeds: int
) -> dict[str, float | str]:
    keys = {
        "next MSE": "prediction/next_mse",
        "next MSE beyond": "prediction/next_mse_beyond",
        "roll-out MSE": "rollout/mse",
        "roll-out MSE beyond": "rollout/mse_beyond",
        "unseen velocities MSE": "velocity/mse_unseen",
    }
    mean = {
        (r, n): statistics.fmean(results[r, s].get(k, float("nan")) for s in range(seeds))
        for r in radii
        for n, k in keys.items()
    }
    summary: dict[str, float | str] = {f"V_{r} {name}": mean[r, name] for r in radii for name in keys}
    for radius in radii:
        if BASELINE in radii and radius != BASELINE:
            summary |= {f"G-RNN / V_{radius} {name}": mean[BASELINE, name] / mean[radius, name] for name in keys}
    return summary


def _job(radius: int, seed: int, run: Path, flags: dict[str, Any], scored: dict[str, Any]) -> Job:
    program = [sys.executable, "-m", "equissl"]
    own = {"--out": run, "--seed": seed, "--method.radius": radius}
    commands = [[*program, "pretrain", *_words(flags | own)], [*program, "evaluate", str(run), *_words(scored)]]
    done = len(commands) if (run / "results.json").is_file() else 0
    return Job(f"V_{radius} seed {seed}", commands, run.parent / f"{run.name}.log", ["pretrain", "evaluate"], done)


def _words(values: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
