"""Benchmarks that time parts of the library on this machine, and benchmarks that train."""

from collections.abc import Callable
from typing import Any

from equissl.util.registry import Registry

#: Functions whose signature gives the flags of ``equissl bench NAME``, and whose answer is printed.
BENCHES: Registry[Callable[..., dict[str, Any]]] = Registry(
    "benchmark",
    {
        "render": "equissl.bench.render:bench_render",
        "live": "equissl.bench.live:bench_live",
        "loader": "equissl.bench.loader:bench_loader",
        "losses": "equissl.bench.losses:bench_losses",
        "evaluate": "equissl.bench.evaluation:bench_evaluate",
        "sparse": "equissl.bench.sparse:bench_sparse",
        "ingest": "equissl.bench.ingest:bench_ingest",
        "odometry": "equissl.bench.odometry:bench_odometry",
        "detection_metrics": "equissl.bench.detection_metrics:bench_detection_metrics",
        "wigner": "equissl.bench.wigner:bench_wigner",
        "fidelity": "equissl.bench.fidelity:bench_fidelity",
        "methods": "equissl.bench.methods:bench_methods",
        "actions": "equissl.bench.actions:bench_actions",
        "scaling": "equissl.bench.scaling:bench_scaling",
        "images": "equissl.bench.images:bench_images",
        "recipes": "equissl.bench.recipes:bench_recipes",
        "stages": "equissl.bench.stages:bench_stages",
        "steps": "equissl.bench.steps:bench_steps",
        "study": "equissl.bench.study:bench_study",
        "sequences": "equissl.bench.sequences:bench_sequences",
        "paths": "equissl.bench.paths:bench_paths",
        "fernn": "equissl.bench.fernn:bench_fernn",
        "detection": "equissl.bench.detection:bench_detection",
    },
    group="equissl.benches",
)
