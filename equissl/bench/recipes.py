"""Recipes beside a baseline on one data set, in pairs over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from equissl.bench.record import Measured
from equissl.bench.sweep import Run, grid, paired_difference, run_sweep, seed_folder, trained_and_evaluated, write_table
from equissl.kinds import KINDS
from equissl.runs.configfile import load_config
from equissl.util.registry import did_you_mean


def bench_recipes(
    recipes: Sequence[str],
    data: Path | str,
    metrics: Sequence[str] = ("knn/all/top1", "linear/all/top1"),
    out: Path | str = "runs/recipes",
    seeds: int = 3,
    first: int = 1,
    steps: int | None = None,
    train: Sequence[str] = (),
    evaluate: Sequence[str] = (),
    parallel: int | None = None,
    verb: Literal["pretrain", "finetune"] = "pretrain",
) -> dict[str, str]:
    """Train recipes on the same data with the same seeds, evaluate them, and compare them with the first.

    Runs are OUT/RECIPE/seed1, seed2 …; started again it goes on where it stopped.

    Args:
        recipes: names of packaged recipes or files of your own; the first is the baseline.
        data: store or folder that all of them learn from and are scored on.
        metrics: numbers of the results to compare, such as ``knn/all/top1`` or ``rotation/mean_deg/all``.
        out: folder of the runs and of ``report.html``.
        seeds: runs of each recipe.
        first: seed of the first run: choose settings on another.
        steps: optimiser steps of each run; None takes those of the recipes.
        train: flags for the training of every run, such as ``--data.batch_size=64``; ``{seed}`` in a value stands for
            the run's seed, as in ``--init=runs/base/seed{seed}``.
        evaluate: flags for every ``equissl evaluate``, such as ``--protocols=[classification]``.
        parallel: runs at a time, one thread each; None takes one for each CPU.
        verb: ``finetune`` for recipes that learn from labels, which take over the encoder of ``--init``.

    Returns:
        by recipe and metric the mean ± standard deviation over seeds and the values, and the paired difference from
        the baseline ± its standard error; the table of all scores, and where the report is.

    Raises:
        ValueError: fewer than one recipe or seed, two of one name, a flag without a value, or a metric that the
            results do not have.
        CommandError: a run failed; with the end of its log.
    """
    out, data = Path(out), Path(data).resolve()
    names = [Path(recipe).stem for recipe in recipes]
    if len(set(names)) < len(names):
        raise ValueError(f"expected recipes of different names, got {', '.join(names)}")
    flags = {"--trainer.threads": 1, **_flags(train)} | ({} if steps is None else {"--trainer.max_steps": steps})
    runs = {
        (name, seed): _run(name, recipe, first + seed, out, data, flags, _flags(evaluate), verb)
        for (name, recipe), seed in grid(zip(names, recipes, strict=True), seeds)
    }
    run_sweep([*runs.values()], out / "logs", parallel)
    scores = {name: [runs[name, seed].results() for seed in range(seeds)] for name in names}
    lines = {
        f"{name} {metric}": _line(_values(scores[name], metric), _values(scores[names[0]], metric), name != names[0])
        for metric in metrics
        for name in names
    }
    return {**lines, **write_table([run.folder for run in runs.values()], out, data)}


def _run(
    name: str,
    recipe: str,
    seed: int,
    out: Path,
    data: Path,
    train: Mapping[str, Any],
    evaluate: Mapping[str, Any],
    verb: str,
) -> Run:
    kind = KINDS[load_config(recipe).data.kind]
    flags = {"--config": recipe, "--seed": seed, f"--data.{kind.place}": data}
    flags |= {flag: str(value).replace("{seed}", str(seed)) for flag, value in train.items()}
    drawn = any(option.name == "seed" for option in fields(kind.options))
    own = {"--seed": seed} if drawn else {}  # a full ranking, for one, draws nothing
    folder = seed_folder(out, name, seed)
    return trained_and_evaluated(f"{name} seed {seed}", folder, flags, {**own, **evaluate}, verb)


def _flags(words: Sequence[str]) -> dict[str, str]:
    """Split words ``--name=value``."""
    if wrong := [word for word in words if not (word.startswith("--") and "=" in word)]:
        raise ValueError(f"expected flags as --name=value, got {', '.join(wrong)}")
    return dict(word.split("=", 1) for word in words)


def _values(results: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    if any(metric not in found for found in results):
        raise ValueError(f"expected a number of the results, got {metric}{did_you_mean(metric, [*results[0]])}")
    return [float(found[metric]) for found in results]


def _line(own: Sequence[float], baseline: Sequence[float], compared: bool) -> Measured:
    """Format ``0.51 ± 0.02 (0.50, 0.53), +0.04 ± 0.01``."""
    spread = statistics.stdev(own) if len(own) > 1 else float("nan")
    text = f"{statistics.mean(own):.4g} ± {spread:.2g} ({', '.join(f'{value:.4g}' for value in own)})"
    numbers: dict[str, Any] = {"values": list(own)}
    if compared:
        mean, error = paired_difference(own, baseline)
        text += f", {mean:+.3g} ± {error:.2g}"
        numbers |= {"difference": mean, "difference_se": error}
    return Measured(text, numbers)
