"""SimCLR, VICReg, BYOL and SwAV on a folder of small images, each beside its encoder before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equissl.bench.record import Measured
from equissl.bench.sweep import Run, grid, run_sweep, seed_folder, trained_and_evaluated, write_table

METHODS = ("simclr", "vicreg", "byol", "swav")
SCORES = {"k-NN": "knn/gain/top1", "linear": "linear/gain/top1"}


def bench_images(
    root: Path | str,
    out: Path | str = "runs/images",
    methods: Sequence[str] = METHODS,
    seeds: int = 3,
    first: int = 1,
    steps: int | None = None,
    parallel: int | None = None,
) -> dict[str, str]:
    """Pretrain the recipes ``cifar10_…``, and evaluate them on whole images.

    Runs are OUT/METHOD/seed1, seed2 …; started again it goes on where it stopped.

    Args:
        root: images, such as a part of CIFAR-10 as ``{train,test}/CLASS/*.jpg``.
        out: folder of the runs and of ``report.html``.
        methods: some of simclr, vicreg, byol and swav.
        seeds: runs of each method.
        first: seed of the first; the recipes were chosen on seed 0.
        steps: optimiser steps of each run; None takes those of the recipes.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        gains over the encoder before training in standard errors of the paired difference, one for each seed; the
        table with mean and standard deviation over seeds, and where the report is.

    Raises:
        ValueError: an unknown method or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise ValueError(f"expected methods among {', '.join(METHODS)}, got {', '.join(unknown)}")
    root, out = Path(root).resolve(), Path(out)
    runs = {(name, seed): _run(name, first + seed, out, root, steps) for name, seed in grid(methods, seeds)}
    run_sweep([*runs.values()], out / "logs", parallel)
    return {**_gains(runs, methods, seeds), **write_table([run.folder for run in runs.values()], out, root)}


def _run(name: str, seed: int, out: Path, root: Path, steps: int | None) -> Run:
    train: dict[str, Any] = {"--config": f"cifar10_{name}", "--seed": seed, "--data.root": root, "--trainer.threads": 1}
    if steps is not None:
        train["--trainer.max_steps"] = steps
    return trained_and_evaluated(f"{name} seed {seed}", seed_folder(out, name, seed), train, {"--seed": seed})


def _gains(runs: dict[tuple[str, int], Run], methods: Sequence[str], seeds: int) -> dict[str, str]:
    """``+6.1 (5.2 SE)`` for each seed, in percentage points and standard errors."""
    found: dict[str, str] = {}
    for name in methods:
        results = [runs[name, seed].results() for seed in range(seeds)]
        for score, key in SCORES.items():
            pairs = [(r[key], r[f"{key}_se"] or float("inf")) for r in results]
            text = ", ".join(f"{100 * g:+.1f} ({g / error:.1f} SE)" for g, error in pairs)
            found[f"{name} {score} gain"] = Measured(text, {"gain": [g for g, _ in pairs], "se": [e for _, e in pairs]})
    return found
