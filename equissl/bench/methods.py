"""Benchmark of every method of ``configs/benchmark`` at one budget, several seeds each, under one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from equissl.bench.record import Measured
from equissl.bench.sweep import (
    Run,
    grid,
    objects_in_step,
    paired_difference,
    run_sweep,
    seed_folder,
    trained_and_evaluated,
    write_table,
)
from equissl.datasets.views.store.store import ViewStore
from equissl.runs.configfile import load_config

#: Name, key of the results, and factor of what is compared seed by seed.
MEASURES = (("rotation °", "rotation/mean_deg/all", 1.0), ("top-1 %", "classification/all/top1", 100.0))


def benchmark_methods() -> list[str]:
    """Return the names of the packaged benchmark configs."""
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
    reference: str | None = None,
    parallel: int | None = None,
) -> dict[str, str]:
    """Pretrain and evaluate every method.

    Runs are OUT/METHOD/seed0, seed1 …; started again it goes on where it stopped. The same folders go to
    ``equissl report OUT/*/seed* --out FILE.html``.

    Args:
        store: view store, such as the demo's.
        out: folder of the runs and of ``report.html``.
        methods: names of configs in ``configs/benchmark``; None takes all of them.
        seeds: runs of each method.
        steps: optimiser steps of each run.
        probe_steps: updates of each probe.
        batch_size: objects in a batch of methods that take two views of each; those that take more get fewer objects,
            so that a step shows every method as many views.
        reference: one of the methods, to which the others are compared seed by seed.
        parallel: runs at a time, one thread each; None takes one for each CPU.

    Returns:
        the table with mean and standard deviation over seeds, where the report is, and for each method its differences
        to ``reference``: means over pairs of one seed, with standard errors.

    Raises:
        ValueError: for an unknown method or reference, or no seeds.
        CommandError: a run failed; with the end of its log.
    """
    known = benchmark_methods()
    if unknown := [name for name in methods or [] if name not in known]:
        raise ValueError(f"expected methods among {', '.join(known)}, got {', '.join(unknown)}")
    if reference not in (None, *(methods or known)):
        raise ValueError(f"expected reference among {', '.join(methods or known)}, got {reference}")
    store, out = Path(store).resolve(), Path(out)
    budget = steps, batch_size, probe_steps
    runs = [benchmark_run(name, seed, out, store, budget) for name, seed in grid(methods or known, seeds)]
    run_sweep(runs, out / "logs", parallel)
    found = write_table([run.folder for run in runs], out, store)
    if reference is None:
        return found
    results = {name: [run.results() for run in runs if run.folder.parent.name == name] for name in methods or known}
    theirs = results.pop(reference)
    return found | {f"{name} - {reference}": _differences(own, theirs) for name, own in results.items()}


def _differences(own: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Measured:
    """Format the mean difference of each measure over pairs of one seed, with its standard error."""
    numbers, words = {}, []
    for name, key, scale in MEASURES:
        ours, others = ([scale * each[key] for each in results] for results in (own, theirs))
        numbers[name] = [a - b for a, b in zip(ours, others, strict=True)]
        mean, error = paired_difference(ours, others)
        words.append(f"{name} {mean:+.1f} ± {error:.1f}")
    return Measured(", ".join(words), numbers)


def benchmark_run(
    name: str,
    seed: int,
    out: Path,
    store: Path,
    budget: tuple[int, int, int],
    label: str | None = None,
    flags: Mapping[str, str] | None = None,
) -> Run:
    """Create a run of one packaged benchmark config.

    Args:
        name: of the config.
        seed: of the run and the probes.
        out: folder of the runs.
        store: view store.
        budget: training steps, pairs of views in a step, and updates of each probe.
        label: name of the run; the config's where None.
        flags: of `equissl pretrain`, beside the budget's.
    """
    steps, pairs, probe_steps = budget
    pretrain = {
        "--config": f"benchmark/{name}", "--seed": seed, "--data.store": store,
        "--data.batch_size": objects_in_step(f"benchmark/{name}", pairs),
        "--trainer.max_steps": steps, "--trainer.threads": 1, **_image_size(name, store), **(flags or {}),
    }  # fmt: skip
    label = label or name
    folder = seed_folder(out, label, seed)
    return trained_and_evaluated(f"{label} seed {seed}", folder, pretrain, evaluation_flags(probe_steps, seed))


def evaluation_flags(probe_steps: int, seed: int) -> dict[str, Any]:
    """Return the flags of `equissl evaluate` that all benchmarks of methods share.

    Args:
        probe_steps: updates of each probe.
        seed: of the probes.
    """
    return {
        "--classification.steps": probe_steps, "--rotation.steps": probe_steps, "--standardize": "true",
        "--seed": seed, "--probe_precision": "auto", "--protocols": "[classification,rotation]",
    }  # fmt: skip


def _image_size(name: str, store: Path) -> dict[str, int]:
    """Return the flag of a config that is made for one size of images, for those of the store."""
    if "image_size" not in load_config(f"benchmark/{name}").method.init_args:
        return {}
    return {"--method.init_args.image_size": ViewStore(store).image_size}
