"""Benchmark of the papers' claims about invariant objectives at small scale: views, batch size, temperature.

``equissl bench study --store views.h5 --out runs/study`` trains every cell and prints one line for each; started again
it goes on where it stopped. ``python -m equissl.bench.study RUN`` scores one run.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import yaml

from equissl.bench.record import Measured
from equissl.bench.sweep import Run, command, grid, run_sweep, seed_folder
from equissl.datasets.views.config import ViewsData
from equissl.evaluation.probes import linear_probe, standardize
from equissl.evaluation.views.config import LinearProbeConfig
from equissl.evaluation.views.features import extract_features, in_memory
from equissl.evaluation.views.retrieval import embed_features
from equissl.metrics import alignment, rankme, tolerance, top_k_accuracy, uniformity
from equissl.runs.checkpoint import load_method
from equissl.util.files import write_json, write_text

SCORES = "study.json"
VIEWS_FOR_SCORES = 4


@dataclass(frozen=True)
class Cell:
    """One setting of a study: an objective with options, views of each object and objects in a batch."""

    study: str
    objective: str
    options: tuple[tuple[str, Any], ...] = ()
    views: int = 2
    batch: int = 128

    @property
    def name(self) -> str:
        options = "".join(f"-{key}{value}" for key, value in self.options)
        return f"{self.study}/{self.objective}{options}-V{self.views}-B{self.batch}"


def cells(study: Literal["views", "batch", "temperature"]) -> list[Cell]:
    """Return the settings that one study compares."""
    if study == "views":
        return [Cell(study, "mv_dhel", (("temperature", 0.5),), views, 64) for views in (2, 3, 4, 5, 6)]
    if study == "batch":
        return [Cell(study, name, (("temperature", 0.1),), 2, batch) for name in ("nt_xent", "dcl")
                for batch in (32, 128, 512)]  # fmt: skip
    return [Cell(study, "nt_xent", (("temperature", t),)) for t in (0.03, 0.1, 0.3, 1.0, 3.0)]


def bench_study(
    store: Path | str,
    out: Path | str = "runs/study",
    studies: Sequence[Literal["views", "batch", "temperature"]] = ("views", "batch", "temperature"),
    seeds: int = 3,
    instances: int = 25600,
    width: int = 16,
) -> dict[str, str]:
    """Train objectives that differ in one thing, and show rank, top-1, uniformity and tolerance for each.

    Every run of a study sees the same number of objects, in V views each, with Adam at one learning rate. Scored on
    objects that no run has seen.

    Args:
        store: view store, such as the demo's.
        out: folder of the runs.
        studies: which of them.
        seeds: runs of each setting.
        instances: objects shown in a run, counting repetitions.
        width: of the ResNet-18.

    Returns:
        one line of means and standard deviations over seeds for each setting.
    """
    out, wanted = Path(out), [cell for study in studies for cell in cells(study)]
    runs = {pair: _run(*pair, out, Path(store), instances, width) for pair in grid(wanted, seeds)}
    run_sweep([*runs.values()], out / "logs")
    return {cell.name: _line([runs[cell, seed].results() for seed in range(seeds)]) for cell in wanted}


def _run(cell: Cell, seed: int, out: Path, store: Path, instances: int, width: int) -> Run:
    config = {
        "method": {
            "class_path": "Invariant",
            "init_args": {
                "encoder": {"name": "resnet18", "width": width},
                "projector": [512, 512, 128],
                "objective": {"name": cell.objective, "options": dict(cell.options)},
                "views": cell.views,
            },
        },
        "data": {"store": str(store.resolve()), "batch_size": cell.batch},
        "trainer": {"max_steps": instances // cell.batch, "threads": 1, "loggers": ["csv"]},
        "probes": {"enabled": False},
        "collapse": {"every": 0},
        "seed": seed,
    }
    folder = seed_folder(out, cell.name, seed)
    file = write_text(folder.with_suffix(".yaml"), yaml.safe_dump(config, sort_keys=False))
    stages = {
        "pretrain": command("pretrain", flags={"--config": file, "--out": folder}),
        "score": [sys.executable, "-m", "equissl.bench.study", str(folder)],
    }
    return Run(f"{cell.name} seed {seed}", folder, stages, SCORES)


def score(run: Path) -> dict[str, float]:
    """Score one run on the store's unseen objects: its embedding, and top-1 of a linear probe."""
    from equissl.datasets.views.store.store import ViewStore

    torch.set_num_threads(1)
    method, config = load_method(run)
    store = ViewStore(cast(ViewsData, config.data).store)
    splits = [store.select(split) for split in ("train", "val")]
    train, val = (extract_features(method, store, objects) for objects in splits)
    labels, val_labels = (torch.from_numpy(store.labels[objects]).long() for objects in splits)
    probe = LinearProbeConfig(steps=500)
    features, val_features = standardize(train["all"], val["all"])
    logits = linear_probe(features, labels, val_features, len(store.classes), probe)
    views = embed_features(method, val, "cpu", in_memory)["embedding"][:, :VIEWS_FOR_SCORES]
    flat, flat_labels = views.flatten(0, 1), val_labels.repeat_interleave(views.shape[1])
    return {
        "top1": float(top_k_accuracy(logits.flatten(0, 1), val_labels.repeat_interleave(logits.shape[1]), 1)),
        "rankme_embedding": rankme(torch.nn.functional.normalize(flat, dim=1)),
        "rankme_representation": rankme(val["all"][:, :VIEWS_FOR_SCORES].flatten(0, 1)),
        "uniformity": uniformity(flat),
        "alignment": alignment(views),
        "tolerance": tolerance(flat, flat_labels),
    }


def _line(scores: list[dict[str, float]]) -> Measured:
    """Format mean ± standard deviation of each score."""
    columns = {key: [score[key] for score in scores] for key in scores[0]}
    parts = []
    for key, values in columns.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        parts.append(f"{key} {statistics.mean(values):.3f} ± {spread:.3f}")
    return Measured(", ".join(parts), columns)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_json(folder / SCORES, score(folder))
