"""Benchmark of learned predictors under actions with and without a shortcut (docs/actions.md)."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from equissl.bench.methods import benchmark_run
from equissl.bench.record import Measured
from equissl.bench.sweep import Run, grid, paired_difference, run_sweep, write_table
from equissl.runs.configfile import build_method, load_config
from equissl.runs.log import read_metrics
from equissl.training.collapse import IGNORED, REAL, SHORTCUT

_OPTIONS = "--method.init_args.predictor_options"
_WHITENED = {"--method.init_args.action": "rotmat", "--method.init_args.whiten_actions": "true"}
_WIGNER = _WHITENED | {"--method.init_args.action": "rotmat+wigner2"}  # degrees 1 and 2
_SCALED, _IDENTITY, _RESIDUAL = (
    {_OPTIONS: json.dumps(options)}
    for options in ({"init": "scaled"}, {"init": "identity"}, {"init": "scaled", "residual": True})
)
#: Methods of ``configs/benchmark`` with a learned predictor that is told the action.
PREDICTING = ("sie", "simclr_equimod", "vicreg_equimod", "sen", "capsie", "conditional_byol")
#: Flags of each setting beside the recipe's own.
SETTINGS: dict[str, dict[str, str]] = {
    "published": {},
    "scaled": _SCALED,
    "whitened": _WHITENED,
    "whitened_scaled": _WHITENED | _SCALED,
    "whitened_identity": _WHITENED | _IDENTITY,
    "wigner_identity": _WIGNER | _IDENTITY,
    "turn_scaled": {"--method.init_args.action": "turn"} | _SCALED,
    "whitened_residual": _WHITENED | _RESIDUAL,
}
_MEASURES = {
    "rotation °": "rotation/mean_deg/all",
    "equivariant part °": "rotation/mean_deg/equi",
    "top-1": "classification/all/top1",
}
RATIO, SHARE = "wrong / right action", "shortcut share"


@functools.cache
def fits(method: str, setting: str) -> bool:
    """Return True for a setting that a method has: an MLP has no start to choose.

    Args:
        method: one of `PREDICTING`.
        setting: one of `SETTINGS`.
    """
    if _OPTIONS not in SETTINGS[setting]:
        return True
    return hasattr(build_method(load_config(f"benchmark/{method}").method).predictor, "init")


def bench_actions(
    store: Path | str,
    out: Path | str = "runs/actions",
    methods: Sequence[str] = PREDICTING,
    settings: Sequence[str] = ("published", "scaled", "whitened", "whitened_scaled", "whitened_identity"),
    controls: Sequence[str] = (),
    seeds: int = 3,
    first: int = 0,
    steps: int = 400,
    probe_steps: int = 1000,
    batch_size: int = 128,
    parallel: int | None = None,
) -> dict[str, str]:
    """Train methods with a learned predictor under several settings of its actions and of its start.

    Runs are OUT/METHOD-SETTING/seed0 …; started again it goes on where it stopped. Settings that a method does not have
    are left out, see `fits`.

    Args:
        store: view store, such as the demo's.
        out: folder of the runs and of ``report.html``.
        methods: some of `PREDICTING`.
        settings: some of `SETTINGS`.
        controls: further configs of ``configs/benchmark``, such as vicreg, as they are.
        seeds: runs of each cell.
        first: seed of the first run.
        steps: optimiser steps of each run.
        probe_steps: updates of each probe.
        batch_size: objects in a batch, two views of each.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        for each cell the rotation error, that of the equivariant part, top-1, and the predictor's loss with wrong
        actions over that with right ones, on unseen objects: mean, values by seed, and the mean difference to
        ``published`` by seed with its standard error; the shortcut share before the first step; the table; and where
        the report is.

    Raises:
        ValueError: for an unknown method or setting, no setting that a method has, or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    for known, asked in ((PREDICTING, methods), (tuple(SETTINGS), settings)):
        if unknown := [name for name in asked if name not in known]:
            raise ValueError(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
    store, out, budget = Path(store).resolve(), Path(out), (steps, batch_size, probe_steps)
    cells = {f"{m}-{s}": (m, SETTINGS[s]) for m in methods for s in settings if fits(m, s)}
    cells |= {name: (name, {}) for name in controls}
    runs: dict[tuple[str, int], Run] = {}
    for name, place in grid(cells, seeds):
        method, flags = cells[name]
        runs[name, place] = benchmark_run(method, first + place, out, store, budget, name, flags)
    run_sweep([*runs.values()], out / "logs", parallel)
    measured = {name: _columns([runs[name, place] for place in range(seeds)]) for name in cells}
    lines = {name: _line(each, measured.get(f"{cells[name][0]}-published")) for name, each in measured.items()}
    return lines | write_table([run.folder for run in runs.values()], out, store)


def _columns(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return each measure by seed."""
    results = [run.results() for run in runs]
    columns = {name: [r[key] for r in results] for name, key in _MEASURES.items() if key in results[0]}
    if f"predictor/{REAL}" in results[0]:
        columns[RATIO] = [r[f"predictor/{IGNORED}"] / r[f"predictor/{REAL}"] for r in results]
    curves = [read_metrics(run.folder) for run in runs]
    if SHORTCUT in curves[0]:
        columns[SHARE] = [curve[SHORTCUT][0][1] for curve in curves]
    return columns


def _line(columns: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]] | None) -> Measured:
    """Format mean and values by seed, and the paired difference to the published setting with its standard error."""
    against = {} if published is None or published == columns else {**published, SHARE: []}
    text = ", ".join(
        f"{name} {statistics.mean(values):.3g} ({', '.join(f'{value:.3g}' for value in values)})"
        + (_difference(values, against[name]) if against.get(name) else "")
        for name, values in columns.items()
    )
    return Measured(text, columns)


def _difference(values: Sequence[float], published: Sequence[float]) -> str:
    mean, error = paired_difference(values, published)
    return f" {mean:+.3g}" if math.isnan(error) else f" {mean:+.3g} ± {error:.2g}"
