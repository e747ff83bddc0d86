"""Evaluation of a run on paired modalities."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from equissl.datasets.paired.config import PairedData
from equissl.datasets.paired.open import is_view_store
from equissl.evaluation.paired.captioned import captioned_scores
from equissl.evaluation.paired.config import PairedOptions
from equissl.evaluation.paired.objects import object_scores
from equissl.evaluation.paired.strips import STRIPS
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device, choose_precision
from equissl.util.files import atomic_path
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.paired.base import PairedMethod


def evaluate_paired(
    run_dir: str | Path,
    method: PairedMethod,
    training: PretrainConfig,
    options: PairedOptions | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Measure the frozen method of a run on objects, or captioned images, that it has never seen; write the results.

    On a view store: retrieval between images, clouds and captions; classes and attributes named by sentences; poses by
    matching an image with its object's cloud, for a method with irreps of both; probes of each branch. On captioned
    images: retrieval between images and captions, and classes where there are any.

    Args:
        run_dir: folder written by `pretrain`.
        method, training: as `load_method` gives them.
        options: what to measure.
        store: view store or captioned images; the run's own where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written.

    Raises:
        ValueError: no data are named, a store without clouds for a method that reads them, or values that are not
            finite.
    """
    run_dir, config, started = Path(run_dir), options or PairedOptions(), time.perf_counter()
    device = choose_device(config.device)
    config = _settled(config, device)
    method = method.to(device).eval()
    place = cast(PairedData, training.data).store if store is None else str(store)
    if not place:
        raise ValueError("the run names no data: say with --store which view store or captioned images to evaluate on")
    measure = object_scores if is_view_store(Path(place)) else captioned_scores
    scores, shown = measure(method, training, place, run_dir, config, log)
    results = _meta(run_dir, method, training, place, config) | scores
    results["seconds"] = round(time.perf_counter() - started, 2)
    if shown:
        with atomic_path(result_folder(run_dir, results) / STRIPS) as partial:
            partial.write_text(json.dumps(shown))
    write_results(run_dir, results)
    return results


def _settled(config: PairedOptions, device: torch.device) -> PairedOptions:
    """Return the options with the probes' device, seed and precision, as the results name them."""
    kind = "cpu" if device.type == "cpu" else "gpu"
    chosen: Any = [choose_precision(name, kind) for name in (config.views.precision, config.views.probe_precision)]
    views = replace(
        config.views, precision=chosen[0], probe_precision=chosen[1], device=config.device, seed=config.seed
    )
    return replace(config, views=views)


def _meta(
    run_dir: Path, method: PairedMethod, training: PretrainConfig, place: str, config: PairedOptions
) -> dict[str, Any]:
    steps = read_saved(run_dir)["step"]
    return {
        "kind": training.data.kind,
        "method": type(method).__name__,
        "label": method.label,
        "run": run_dir.name,
        "store": str(Path(place).resolve()),
        "seed": training.seed,
        "steps": steps,
        "objects_seen": steps * training.trainer.accumulate * training.data.batch_size,
        "views": method.views,
        "clouds": method.clouds,
        "texts": method.texts,
        **flat_config(asdict(config)),
    }
