"""Benchmark of equivariant against ordinary recurrent networks on moving digits, at equal steps.

``equissl bench fernn --digits FOLDER --out runs/fernn`` trains, evaluates and writes OUT/report.html with roll-outs
beside the truth; started again it goes on where it stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equissl.bench.sweep import grid, run_sweep, seed_folder, trained_and_evaluated, write_table

BASELINE = 0  # the radius of the velocity set {0}


def bench_fernn(
    digits: Path | str,
    out: Path | str = "runs/fernn",
    config: str = "fernn_small",
    radii: Sequence[int] = (1, BASELINE),
    seeds: int = 1,
    steps: int = 1200,
    videos: int = 256,
    parallel: int | None = None,
) -> dict[str, float | str]:
    """Measure next-frame error, roll-outs to twice the trained length, and velocities never seen, of FERNN and G-RNN.

    All networks have the same parameters, initial weights and batches. Each sees the speeds of the config; each is
    scored on every velocity of the largest set among ``radii``, on digits that no run has seen.

    Args:
        digits: folder of IDX files, such as MNIST's.
        out: folder of the runs and the page.
        config: recipe of ``FERNN``, a file or a packaged one.
        radii: N of the velocity sets V_N to compare; 0 is the baseline G-RNN.
        seeds: runs of each.
        steps: optimiser steps of each run.
        videos: to score on.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        means over seeds by radius, and how many times lower each error is than the baseline's, where that is among
        ``radii``; the table, and where the page is.

    Raises:
        ValueError: no radii or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    out, store = Path(out), Path(digits).resolve()
    flags = {"--config": config, "--data.store": store, "--trainer.max_steps": steps, "--trainer.threads": 1}
    scored = {"--velocity_radius": max(radii), "--videos": videos}
    runs = {}
    for radius, seed in grid(radii, seeds):
        folder, own = seed_folder(out, f"radius{radius}", seed), {"--seed": seed, "--method.radius": radius}
        runs[radius, seed] = trained_and_evaluated(f"V_{radius} seed {seed}", folder, flags | own, scored)
    run_sweep([*runs.values()], out / "logs", parallel)
    results = {pair: run.results() for pair, run in runs.items()}
    return {**_summary(results, radii, seeds), **write_table([run.folder for run in runs.values()], out)}


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
