"""Evaluation of a run on pairs of sweeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from equissl.datasets.drives.config import DrivesData
from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.drives.pairs.dataset import SweepPairs
from equissl.datasets.drives.store.store import DriveStore
from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.drives.encoding import SweepEncoder, batches, frozen, spread
from equissl.evaluation.drives.equivariance import STANDING, equivariance_scores, stands
from equissl.evaluation.drives.maps import describe_maps, sweep_maps, write_maps
from equissl.evaluation.drives.rotation import Turned, rotation_scores
from equissl.evaluation.initial import initial_method
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device
from equissl.util.progress import Log, staged

if TYPE_CHECKING:
    from equissl.methods.drives.base import DriveMethod

MAPS = "maps.npz"
END_OF_DRIVE = "the end of the only drive"
TRAIN_STREAM, VAL_STREAM = 0, 1  # of random rotations


def evaluate_drives(
    run_dir: str | Path,
    method: DriveMethod,
    training: PretrainConfig,
    options: DriveEvaluateConfig | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Evaluate the encoder of a method on drives it has never seen, and write the results.

    Everything is measured twice, for the trained encoder and for the same architecture with the weights that training
    started from, so that each number has its "before" beside it. Beside the results, ``maps.npz`` for
    the report's pictures.

    Args:
        run_dir: folder written by ``pretrain``.
        method, training: as `equissl.training.load_method` gives them.
        options: what to measure.
        store: drive store to evaluate on; the one of the run where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written. A value is None where it could not be measured: flow without flow or poses, or an
        error of features that are all equal. ``flow_cells_changed`` is the share of points that flow takes to another
        cell; where it is near 0 the car stood, and the errors of flow show nothing.

    Raises:
        ValueError: fewer than two pairs to learn from, or to score on.
        SweepPairsError: a store without pairs of sweeps, or none of unseen drives.
        FlowError: an unknown flow provider, or one that the store has no poses or boxes for.
    """
    run_dir, config, started = Path(run_dir), options or DriveEvaluateConfig(), time.perf_counter()
    device = choose_device(config.device)
    path = Path(cast(DrivesData, training.data).store if store is None else store)
    flow = choose_flow(path) if config.flow == "auto" else config.flow
    train, val = (_open(path, split, flow, training, config) for split in ("train", "val"))
    log(f"{len(train)} pairs to learn from, {len(val)} of {held_out(train, val)}, flow: {flow}")
    if len(val) < 2 or len(train) < 2:
        raise ValueError(f"expected at least two pairs of each split of {path}, got {len(train)} and {len(val)}")
    seen, unseen = (_sweeps(dataset, config.sweeps) for dataset in (train, val))
    calibration = [cloud for cloud, _ in _sweeps(train, config.calibrate)] if config.calibrate else []
    encoders = {
        "trained": frozen(method, device, calibration, config.batch_size),
        "initial": frozen(initial_method(training), device, calibration, config.batch_size),
    }
    results = _meta(run_dir, method, training, path, flow, train, val, config)
    for name, encoder in encoders.items():
        log(f"equivariance of the {name} encoder")
        scores = equivariance_scores(encoder, _pairs(val, config.pairs, config.batch_size), config)
        results["flow_cells_changed"] = scores.pop("flow_cells_changed")
        results |= {f"equivariance/{key}/{name}": value for key, value in scores.items()}
        results |= collapse(encoder, [cloud for cloud, _ in unseen], "all" if name == "trained" else name, config)
    if stands(results):
        log(STANDING)
    log("rotation from frozen features")
    turned = [
        Turned.draw([cloud for cloud, _ in sweeps], [drive for _, drive in sweeps], config, stream)
        for sweeps, stream in ((seen, TRAIN_STREAM), (unseen, VAL_STREAM))
    ]
    results |= rotation_scores(encoders["trained"], encoders["initial"], turned[0], turned[1], config)
    shown = list(_pairs(val, config.maps, 1)) if config.maps else []
    if shown:
        folder = result_folder(run_dir, results)
        write_maps(folder / MAPS, sweep_maps(encoders, shown), describe_maps(encoders["trained"], shown))
    results["seconds"] = round(time.perf_counter() - started, 2)
    write_results(run_dir, results)
    return results


def _open(path: Path, split: str, flow: str, training: PretrainConfig, config: DriveEvaluateConfig) -> SweepPairs:
    """Open a split of the store, divided as for training; whole sweeps, however training cropped them."""
    data = cast(DrivesData, training.data)
    same = str(path.resolve()) == data.store
    return SweepPairs(
        path,
        split,
        gap=data.gap if flow != "stored" else 1,
        flow=flow if split == "val" else "none",
        seed=config.seed,
        max_points=data.max_points,
        drives=data.drives if same else None,
        val_fraction=data.val_fraction,
        val_drives=data.val_drives if same else None,
    )


def choose_flow(path: Path) -> str:
    """Choose the most exact flow that every drive of a store allows, as far as its first pair shows.

    Its own, that of tracked boxes, that of a static world; ``none`` where a drive has neither flow nor poses.
    """
    store = DriveStore(path)
    firsts = {pair[0]: pair for pair in reversed(store.pairs())}
    if not firsts:
        raise ValueError(f"expected pairs of sweeps in {path}, found none among {store.num_sweeps} sweeps")
    sweeps = [[store.read(name, index) for index in places] for name, *places in firsts.values()]
    store.close()
    if all(first.flow is not None for first, _ in sweeps):
        return "stored"
    if any(sweep.pose is None for pair in sweeps for sweep in pair):
        return "none"
    tracked = all(first.boxes is not None and any(first.boxes.tracks) for first, _ in sweeps)
    return "boxes" if tracked else "ego"


def held_out(train: SweepPairs, val: SweepPairs) -> str:
    """Name what the encoder was not trained on: other drives, or the end of the only one.

    Args:
        train: pairs of the training split.
        val: pairs of the other.
    """
    seen, unseen = ({name for name, _, _ in dataset.pairs} for dataset in (train, val))
    return END_OF_DRIVE if seen & unseen else "unseen drives"


def collapse(encoder: SweepEncoder, clouds: list[Tensor], part: str, config: DriveEvaluateConfig) -> dict[str, Any]:
    """Compute RankMe and mean deviation of whole sweeps (``all``, ``initial``) and of their ground cells (``…_cells``).

    Args:
        encoder: the frozen encoder.
        clouds: sweeps to encode.
        part: ``all``, or ``initial`` for an encoder with its first weights.
        config: batch size.
    """
    groups = list(batches(clouds, config.batch_size))
    pooled = torch.cat([encoder.pooled(group) for group in staged(groups, "whole sweeps", "batches")])
    some = staged(list(batches(clouds[:16], config.batch_size)), "ground cells", "batches")
    cells = torch.cat([encoder.bev(group).features.cpu() for group in some])
    name = "cells" if part == "all" else f"{part}_cells"
    return collapse_scores(pooled[:, None], part) | collapse_scores(cells[:, None], name)


def _pairs(dataset: SweepPairs, wanted: int, batch_size: int) -> Iterator[ScenePair]:
    for indices in staged(list(batches(spread(len(dataset), wanted), batch_size)), "pairs of sweeps", "batches"):
        yield dataset.__getitems__([(0, index) for index in indices])


def _sweeps(dataset: SweepPairs, wanted: int) -> list[tuple[Tensor, str]]:
    """Return the later sweeps of evenly spread pairs, and their drives."""
    pairs = _pairs(dataset, wanted, 1)
    return [(pair.current[0], pair.drives[0]) for pair in pairs]


def _meta(
    run_dir: Path,
    method: DriveMethod,
    training: PretrainConfig,
    store: Path,
    flow: str,
    train: SweepPairs,
    val: SweepPairs,
    config: DriveEvaluateConfig,
) -> dict[str, Any]:
    step = read_saved(run_dir)["step"]
    return {
        "kind": training.data.kind,
        "method": type(method).__name__,
        "label": method.label,
        "run": run_dir.name,
        "store": str(store),
        "seed": training.seed,
        "steps": step,
        "pairs_seen": step * training.trainer.accumulate * training.data.batch_size,
        "train_pairs": len(train),
        "val_pairs": len(val),
        "held_out": held_out(train, val),
        "flow": flow,
        "flow_provider": val[0, 0].flow_provider,
        **flat_config(asdict(config)),
    }
