"""From a training run to its results.json."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.store import ViewStore
from equissl.evaluation import scores
from equissl.evaluation.config import EvaluateConfig
from equissl.evaluation.diagnostics import collapse_scores, predictor_scores
from equissl.evaluation.features import (
    FeatureSet,
    check_finite,
    extract_features,
    fingerprint,
    has_euler_latents,
    load_cache,
    save_cache,
    view_quats,
)
from equissl.evaluation.probes import linear_probe, pose_probe, rotation_probe, standardize
from equissl.evaluation.sampling import fixed_pairs, pair_targets
from equissl.geometry import QuaternionSign
from equissl.metrics import constant_rotation_prediction

if TYPE_CHECKING:
    from equissl.methods import Method
    from equissl.training import PretrainConfig

Log = Callable[[str], None]


def evaluate(
    run_dir: str | Path,
    config: EvaluateConfig | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Probes the frozen backbone of a run on objects it has never seen and writes ``RUN/results.json``.

    Also writes ``RUN/eval.npz``: the geodesic error of every validation pair, per part and for the constant predictor.

    Args:
        run_dir: folder written by ``pretrain``.
        config: probes and settings.
        store: view store to evaluate on; the one the run was trained on where None.
        log: called with one line per stage.

    Returns:
        The flat results, as written.

    Raises:
        ValueError: a store without validation or training objects, an unknown part, or features that are not finite.
    """
    from equissl.training import load_method

    run_dir, config, started = Path(run_dir), config or EvaluateConfig(), time.perf_counter()
    method, training = load_method(run_dir)
    device = _device(config.device)
    config = _settle_precision(config, device)
    views = ViewStore(store if store is not None else training.data.store)
    train, val = (_features(method, views, run_dir, split, config, device, log) for split in ("train", "val"))
    results, errors = probe_all(train, val, len(views.classes), _sign(config, views), config, device, log)
    results |= predictor_scores(
        method, views, batches=config.diagnostic_batches, batch_size=config.batch_size, seed=config.seed, device=device
    )
    results |= _meta(method, training, views, train, val, config, run_dir)
    results["seconds"] = round(time.perf_counter() - started, 2)
    _write_errors(run_dir / "eval.npz", errors)
    write_results(run_dir / "results.json", results)
    return results


def probe_all(
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    sign: QuaternionSign,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Both probes on every part, the trivial predictors, and collapse diagnostics.

    Returns:
        Flat scores; and per part, ``constant`` and ``identity`` among them, the errors of all pairs in degrees.
    """
    rotation = config.rotation
    pairs = fixed_pairs(val.objects, val.num_views, rotation.val_pairs, config.seed)
    target = pair_targets(val.quats, pairs, sign)
    train_pairs = fixed_pairs(train.objects, train.num_views, rotation.val_pairs, config.seed)
    results: dict[str, Any] = dict(scores.label_baselines(train.labels, val.labels, num_classes))
    errors: dict[str, np.ndarray] = {}

    def record(preds: Tensor, part: str) -> None:
        entries, errors[part] = scores.rotation_scores(preds, target, pairs[:, 0], part)
        results.update(entries)

    record(constant_rotation_prediction(target, pair_targets(train.quats, train_pairs, sign)), "constant")
    record(scores.identity_prediction(len(pairs)), "identity")
    for part in _parts(train, config):
        log(f"probing part {part} ({train.parts[part].shape[-1]} dimensions)")
        results |= collapse_scores(val.parts[part], part)
        x, y = train.parts[part], val.parts[part]
        x, y = (side.to(device) for side in (standardize(x, y) if config.standardize else (x, y)))
        shared: dict[str, Any] = {"seed": config.seed, "precision": config.probe_precision}
        logits = linear_probe(x, train.labels.to(device), y, num_classes, config.classification, **shared)
        results |= scores.classification_scores(logits, val.labels, part)
        record(rotation_probe(x, train.quats, y, pairs, rotation, sign, **shared), part)
        if config.individual:
            results |= _individual(x, train, y, val, part, config)
    return results, errors


def _individual(x: Tensor, train: FeatureSet, y: Tensor, val: FeatureSet, part: str, config: EvaluateConfig) -> dict:
    preds = pose_probe(x, train.quats, y, config.rotation, seed=config.seed, precision=config.probe_precision)
    owners = np.repeat(np.arange(len(val.objects)), val.num_views)
    target = val.quats.flatten(0, 1)
    constant = constant_rotation_prediction(target, train.quats.flatten(0, 1))
    found, _ = scores.rotation_scores(preds.flatten(0, 1), target, owners, part, "individual")
    return found | scores.rotation_scores(constant, target, owners, "constant", "individual")[0]


def _parts(train: FeatureSet, config: EvaluateConfig) -> list[str]:
    wanted = config.parts if config.parts is not None else list(train.parts)
    missing = [part for part in wanted if part not in train.parts]
    if missing:
        raise ValueError(f"expected parts among {list(train.parts)}, got {missing}")
    return wanted


def _sign(config: EvaluateConfig, store: ViewStore) -> QuaternionSign:
    sign = config.rotation.sign
    if sign == "auto":
        return "legacy" if has_euler_latents(store) else "canonical"
    if sign == "legacy" and not has_euler_latents(store):
        raise ValueError(f"sign=legacy needs Euler latents, but {store.path} holds {list(store.schema.names)}")
    return sign


def _features(
    method: Method, store: ViewStore, run_dir: Path, split: str, config: EvaluateConfig, device: torch.device, log: Log
) -> FeatureSet:
    objects = store.select(split)
    cache = run_dir / "features" / f"{split}.h5"
    mark = fingerprint(
        run_dir / "checkpoints" / "last.ckpt",
        store,
        split=split,
        precision=config.precision,
        dtype=config.feature_dtype,
    )
    parts = load_cache(cache, mark) if config.cache else None
    if parts is None:
        log(f"features of {len(objects)} {split} objects, {store.num_views} views each")
        dtype: torch.dtype = getattr(torch, config.feature_dtype)
        workers = (os.cpu_count() or 1) * (device.type != "cpu") if config.workers is None else config.workers
        settings: dict[str, Any] = {
            "batch_size": config.batch_size, "precision": config.precision, "dtype": dtype, "workers": workers
        }  # fmt: skip
        parts = extract_features(method, store, objects, device=device, **settings)
        if config.cache:
            save_cache(cache, parts, mark)
    check_finite(parts)
    labels = torch.from_numpy(store.labels[objects])
    return FeatureSet(parts, objects, labels, view_quats(store, objects))


def _meta(
    method: Method,
    training: PretrainConfig,
    store: ViewStore,
    train: FeatureSet,
    val: FeatureSet,
    config: EvaluateConfig,
    run_dir: Path,
) -> dict[str, Any]:
    from equissl.training import read_checkpoint

    steps = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["equissl"]["step"]
    return {
        "method": type(method).__name__,
        "run": run_dir.name,
        "store": str(store.path),
        "seed": training.seed,
        "steps": steps,
        "views_seen": steps * training.trainer.accumulate * training.data.batch_size * method.views,
        "train_objects": len(train.objects),
        "val_objects": len(val.objects),
        "views_per_object": val.num_views,
        "classes": len(store.classes),
        "rotation/sign": _sign(config, store),
        **_flat(asdict(config), "config"),
    }


def _flat(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}/{name}"
        plain = list(value) if isinstance(value, tuple) else value
        entries |= _flat(value, key) if isinstance(value, dict) else {key: plain}
    return entries


def _device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _settle_precision(config: EvaluateConfig, device: torch.device) -> EvaluateConfig:
    """``auto`` replaced by what this device computes in, so that the results and the cache name it."""
    from equissl.training.device import choose_precision

    kind = "cpu" if device.type == "cpu" else "gpu"
    chosen: Any = [choose_precision(name, kind) for name in (config.precision, config.probe_precision)]
    return replace(config, precision=chosen[0], probe_precision=chosen[1])


def _write_errors(path: Path, errors: dict[str, np.ndarray]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    arrays: dict[str, Any] = {part: values.astype(np.float32) for part, values in errors.items()}
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Flat JSON with sorted keys; a reader sees the whole file or the one before."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(results, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
