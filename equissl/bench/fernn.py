"""Benchmark of equivariant against ordinary recurrent networks on moving digits, at equal steps.

``equissl bench fernn --digits FOLDER --out runs/fernn`` trains, evaluates and writes OUT/report.html with roll-outs
beside the truth; started again it goes on where it stopped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.bench.record import Measured
from equissl.bench.sweep import (
    Run,
    grid,
    paired_difference,
    run_sweep,
    seed_folder,
    trained_and_evaluated,
    write_table,
)
from equissl.runs.configfile import load_config
from equissl.runs.log import read_metrics

BASELINE = 0  # the radius of the velocity set {0}
LOSS, RATE = "train/loss", "time/frames_per_second"


@dataclass(frozen=True)
class Task:
    """A recipe to train, and the measures to compare its networks by.

    Attributes:
        recipe: packaged one.
        measures: key of the results by the name of each measure.
        curves: beginning of the keys of each curve over frames, by its name.
        errors: True where low is good, and networks are compared by ratios; accuracies are by differences.
    """

    recipe: str
    measures: Mapping[str, str]
    curves: Mapping[str, str]
    errors: bool = True


_ERRORS = {
    "next MSE": "prediction/next_mse",
    "next MSE beyond": "prediction/next_mse_beyond",
    "roll-out MSE": "rollout/mse",
    "roll-out MSE beyond": "rollout/mse_beyond",
    "unseen velocities MSE": "velocity/mse_unseen",
}
_STEPS = {"next MSE by frame": "prediction/step_mse/", "roll-out MSE by frame": "rollout/step_mse/"}
_ACCURACIES = {
    "top-1": "classification/top1",
    "top-1 beyond": "classification/top1_beyond",
    "unseen velocities top-1": "velocity/top1_unseen",
}
TASKS = {
    "translation": Task("fernn_small", _ERRORS, _STEPS),
    "rotation": Task("fernn_rotation_small", _ERRORS, _STEPS),
    "classification": Task(
        "fernn_classification_small", _ACCURACIES, {"top-1 by frame": "classification/step_top1/"}, errors=False
    ),
}


def bench_fernn(
    digits: Path | str,
    out: Path | str = "runs/fernn",
    task: str = "translation",
    config: str | None = None,
    radii: Sequence[int] | None = None,
    seeds: int = 1,
    first: int = 0,
    steps: int | None = None,
    videos: int = 256,
    parallel: int | None = None,
) -> dict[str, str]:
    """Measure FERNN and G-RNN at the trained length, at twice that length, and at velocities never seen.

    All networks have the same parameters, initial weights and batches. Each sees the speeds of the config; each is
    scored on every velocity of the largest set among ``radii``, on digits that no run has seen.

    Args:
        digits: folder of IDX files, such as MNIST's.
        out: folder of the runs and the page.
        task: ``translation`` or ``rotation``, predicted; or ``classification``, of translating digits.
        config: recipe, a file or a packaged one; None takes the task's.
        radii: N of the velocity sets V_N to compare; 0 is the baseline G-RNN. None takes the recipe's and 0.
        seeds: runs of each.
        first: seed of the first.
        steps: optimiser steps of each run; None takes those of the recipe.
        videos: to score on.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        by radius, mean and values of each measure, curves over frames, and the loss of training. Beside the baseline,
        where that is among ``radii``: how many times lower each error is, or how many points higher each accuracy, seed
        by seed; at which step the loss first is the baseline's last one; and how long a step takes. The table, and
        where the page is.

    Raises:
        ValueError: an unknown task, no radii or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    if task not in TASKS:
        raise ValueError(f"expected task {', '.join(TASKS)}, got {task!r}")
    out, store, recipe = Path(out), Path(digits).resolve(), config or TASKS[task].recipe
    if radii is None:
        radii = (load_config(recipe).method.init_args["radius"], BASELINE)
    flags: dict[str, Any] = {"--config": recipe, "--data.store": store, "--trainer.threads": 1}
    if steps is not None:
        flags["--trainer.max_steps"] = steps
    scored = {"--velocity_radius": max(radii), "--videos": videos}
    runs = {}
    for radius, place in grid(radii, seeds):
        seed = first + place
        folder, own = seed_folder(out, f"radius{radius}", seed), {"--seed": seed, "--method.radius": radius}
        runs[radius, seed] = trained_and_evaluated(f"V_{radius} seed {seed}", folder, flags | own, scored)
    run_sweep([*runs.values()], out / "logs", parallel)
    found = {radius: [_measured(run, TASKS[task]) for (r, _), run in runs.items() if r == radius] for radius in radii}
    lines: dict[str, str] = {}
    for radius, by_seed in found.items():
        lines |= _scores(f"V_{radius}", by_seed, TASKS[task])
    for radius, by_seed in found.items():
        if BASELINE in found and radius != BASELINE:
            lines |= _compared(f"V_{radius}", by_seed, found[BASELINE], TASKS[task])
    return lines | write_table([run.folder for run in runs.values()], out)


def steps_to(curve: Sequence[tuple[int, float]], target: float) -> int | None:
    """Return the first step at which a curve is at most ``target``; None where it never is.

    Args:
        curve: (step, value) in order.
        target: value.
    """
    return next((step for step, value in curve if value <= target), None)


def last_loss(curve: Sequence[tuple[int, float]]) -> float:
    """Compute the mean of the last tenth of a curve.

    Args:
        curve: (step, value) in order.
    """
    return statistics.fmean(value for _, value in curve[-max(1, len(curve) // 10) :])


def _measured(run: Run, task: Task) -> dict[str, Any]:
    """Collect measures, curves over frames, and the curve of training of one run."""
    results, training = run.results(), read_metrics(run.folder)
    numbers = {name: results[key] for name, key in task.measures.items() if key in results}
    curves = {
        name: [results[key] for key in sorted(results) if key.startswith(prefix)]
        for name, prefix in task.curves.items()
    }
    return {
        **numbers,
        **curves,
        "rate": statistics.median(value for _, value in training[RATE]),
        "loss": training[LOSS],
    }


def _scores(name: str, found: Sequence[dict[str, Any]], task: Task) -> dict[str, str]:
    """Format the measures and curves of one network over seeds."""
    lines: dict[str, str] = {}
    for measure in task.measures:
        if measure in found[0]:
            values = [each[measure] for each in found]
            lines[f"{name} {measure}"] = Measured(f"{statistics.fmean(values):.3g} ({_listed(values)})", values)
    for curve in task.curves:
        lines[f"{name} {curve}"] = _curve_line([each[curve] for each in found])
    steps = [step for step, _ in found[0]["loss"]]
    losses = [[value for _, value in each["loss"]] for each in found]
    text = _curve_line(losses)
    return lines | {
        f"{name} loss": Measured(f"{text}, step {steps[0]} to {steps[-1]}", {"step": steps, "loss": losses})
    }


def _curve_line(curves: Sequence[Sequence[float]], shown: int = 8) -> Measured:
    """Format the mean over seeds at about ``shown`` places."""
    mean = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    places = sorted({round(i * (len(mean) - 1) / (shown - 1)) for i in range(shown)})
    return Measured(" … ".join(f"{mean[i]:.3g}" for i in places), [list(curve) for curve in curves])


def _compared(
    name: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], task: Task
) -> dict[str, str]:
    """Compare a network with the baseline, seed by seed."""
    found: dict[str, str] = {}
    for measure in (m for m in task.measures if m in ours[0]):
        own, other = ([each[measure] for each in results] for results in (ours, theirs))
        if task.errors:
            found[f"G-RNN / {name} {measure}"] = ratios(other, own)
        else:
            found[f"{name} - G-RNN {measure} %"] = differences([100 * v for v in own], [100 * v for v in other])
    reached = [steps_to(a["loss"], last_loss(b["loss"])) for a, b in zip(ours, theirs, strict=True)]
    text = ", ".join(str(step or "never") for step in reached)
    found[f"{name} at G-RNN's last loss"] = Measured(f"step {text} of {ours[0]['loss'][-1][0]}", reached)
    rates = ([each["rate"] for each in results] for results in (theirs, ours))
    return found | {f"{name} / G-RNN time of a step": ratios(*rates)}


def ratios(above: Sequence[float], below: Sequence[float]) -> Measured:
    """Format ratios of pairs as ``71 ×/÷ 1.5 (119, 33, 128)``: geometric mean, its standard error as a factor, each.

    Args:
        above, below: one positive value for each seed.
    """
    mean, error = paired_difference([math.log(value) for value in above], [math.log(value) for value in below])
    values = [a / b for a, b in zip(above, below, strict=True)]
    spread = "" if math.isnan(error) else f" ×/÷ {math.exp(error):.2g}"
    return Measured(f"{math.exp(mean):.3g}{spread} ({_listed(values)})", values)


def differences(own: Sequence[float], theirs: Sequence[float]) -> Measured:
    """Format differences of pairs as ``+4.0 ± 1.0 (+5.1, +2.0, +4.9)``: mean, its standard error, and each.

    Args:
        own, theirs: one value for each seed.
    """
    mean, error = paired_difference(own, theirs)
    values = [a - b for a, b in zip(own, theirs, strict=True)]
    spread = "" if math.isnan(error) else f" ± {error:.1f}"
    return Measured(f"{mean:+.1f}{spread} ({', '.join(f'{value:+.1f}' for value in values)})", values)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
