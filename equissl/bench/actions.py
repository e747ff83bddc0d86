"""Benchmark of learned predictors under actions with and without a shortcut (docs/actions.md)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from equissl.bench.methods import benchmark_run
from equissl.bench.record import Measured
from equissl.bench.sweep import Run, grid, run_sweep, write_table

#: Methods of ``configs/benchmark`` with a hypernetwork; an MLP, as conditional BYOL's, has no start to choose.
PREDICTING = ("sie", "simclr_equimod", "vicreg_equimod", "sen", "capsie")
_SCALED = {"--method.init_args.predictor_options": json.dumps({"init": "scaled"})}
_IDENTITY = {"--method.init_args.predictor_options": json.dumps({"init": "identity"})}
_WHITENED = {"--method.init_args.action": "rotmat", "--method.init_args.whiten_actions": "true"}
#: Flags of each setting beside the recipe's own.
SETTINGS: dict[str, dict[str, str]] = {
    "published": {},
    "scaled": _SCALED,
    "whitened": _WHITENED,
    "whitened_scaled": _WHITENED | _SCALED,
    "whitened_identity": _WHITENED | _IDENTITY,
    "turn_scaled": {"--method.init_args.action": "turn"} | _SCALED,
}
_MEASURES = {
    "rotation °": "rotation/mean_deg/all",
    "equivariant part °": "rotation/mean_deg/equi",
    "top-1": "classification/all/top1",
}


def bench_actions(
    store: Path | str,
    out: Path | str = "runs/actions",
    methods: Sequence[str] = PREDICTING,
    settings: Sequence[str] = ("published", "scaled", "whitened", "whitened_scaled"),
    seeds: int = 3,
    first: int = 0,
    steps: int = 400,
    probe_steps: int = 1000,
    batch_size: int = 128,
    parallel: int | None = None,
) -> dict[str, str]:
    """Train every method with a hypernetwork under every setting of its actions and of its start.

    Runs are OUT/METHOD-SETTING/seed0 …; started again it goes on where it stopped.

    Args:
        store: view store, such as the demo's.
        out: folder of the runs and of ``report.html``.
        methods: some of `PREDICTING`.
        settings: some of `SETTINGS`.
        seeds: runs of each cell.
        first: seed of the first run.
        steps: optimiser steps of each run.
        probe_steps: updates of each probe.
        batch_size: objects in a batch, two views of each.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        for each cell the rotation error, that of the equivariant part, top-1, and the predictor's loss with wrong
        actions over that with right ones, on unseen objects, by seed; the table; and where the report is.

    Raises:
        ValueError: for an unknown method or setting, or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    for known, asked in ((PREDICTING, methods), (tuple(SETTINGS), settings)):
        if unknown := [name for name in asked if name not in known]:
            raise ValueError(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
    store, out, budget = Path(store).resolve(), Path(out), (steps, batch_size, probe_steps)
    cells = [(method, setting) for method in methods for setting in settings]
    runs: dict[tuple[str, int], Run] = {}
    for (method, setting), place in grid(cells, seeds):
        name = f"{method}-{setting}"
        run = benchmark_run(method, first + place, out, store, budget, name, SETTINGS[setting])
        runs[name, place] = run
    run_sweep([*runs.values()], out / "logs", parallel)
    lines = {f"{m}-{s}": _line([runs[f"{m}-{s}", place].results() for place in range(seeds)]) for m, s in cells}
    return lines | write_table([run.folder for run in runs.values()], out, store)


def _line(results: list[dict]) -> Measured:
    """Format mean and values by seed of each measure."""
    ratios = [r["predictor/equivariance_ignored_action"] / r["predictor/equivariance"] for r in results]
    columns = {name: [r[key] for r in results] for name, key in _MEASURES.items() if key in results[0]}
    columns["wrong / right action"] = ratios
    text = ", ".join(
        f"{name} {statistics.mean(values):.3g} ({', '.join(f'{value:.3g}' for value in values)})"
        for name, values in columns.items()
    )
    return Measured(text, columns)
