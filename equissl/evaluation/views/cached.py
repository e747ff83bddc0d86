"""Features and embeddings of a run's views, from the cache in its folder."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import (
    Allocate,
    FeatureSet,
    cached_features,
    check_finite,
    extract_features,
    fingerprint,
    in_memory,
    view_quats,
)
from equissl.evaluation.views.retrieval import EMBEDDING, embed_features
from equissl.util.progress import Log
from equissl.util.runfolder import LAST

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod


def feature_sets(
    method: ViewMethod,
    store: ViewStore,
    run_dir: Path,
    config: EvaluateConfig,
    device: torch.device,
    log: Log = lambda message: None,
) -> tuple[FeatureSet, FeatureSet]:
    """Return features of all training and of all validation views, from the run's cache or computed into it.

    Args:
        method: the frozen method.
        store: the views.
        run_dir: run folder; holds the cache.
        config: batch size, precision and workers of the extraction.
        device: to compute on.
        log: called with lines on progress.
    """
    train, val = (split_features(method, store, run_dir, split, config, device, log) for split in ("train", "val"))
    return train, val


def split_features(
    method: ViewMethod,
    store: ViewStore,
    run_dir: Path,
    split: str,
    config: EvaluateConfig,
    device: torch.device,
    log: Log,
    name: str | None = None,
) -> FeatureSet:
    """Return features of all views of one split, from the run's cache or computed into it.

    Args:
        method: the frozen method.
        store: the views.
        run_dir: run folder; holds the cache.
        split: ``train`` or ``val``.
        config: batch size, precision and workers of the extraction.
        device: to compute on.
        log: called with lines on progress.
        name: of the cache file; the split's where None.
    """
    objects = store.select(split)

    def compute(allocate: Allocate) -> dict[str, Tensor]:
        log(f"features of {len(objects)} {split} objects, {store.num_views} views each")
        workers = (os.cpu_count() or 1) * (device.type != "cpu") if config.workers is None else config.workers
        settings: dict[str, Any] = {"batch_size": config.batch_size, "precision": config.precision, "workers": workers}
        dtype: torch.dtype = getattr(torch, config.feature_dtype)
        return extract_features(method, store, objects, device=device, dtype=dtype, allocate=allocate, **settings)

    mark = features_mark(run_dir, store, split, config)
    parts = (
        cached_features(run_dir / "features" / f"{name or split}.h5", mark, compute)
        if config.cache
        else compute(in_memory)
    )
    check_finite(parts)
    labels = torch.from_numpy(store.labels[objects])
    latents = torch.from_numpy(store.latents[objects])
    return FeatureSet(parts, objects, labels, view_quats(store, objects), latents, store.schema)


def features_mark(run_dir: Path, store: ViewStore, split: str, config: EvaluateConfig) -> str:
    """Return the `fingerprint` of cached features of one split.

    Args:
        run_dir: run folder; holds the weights.
        store: the views.
        split: ``train`` or ``val``.
        config: precision and type of the features.
    """
    settings = {"split": split, "precision": config.precision, "dtype": config.feature_dtype}
    return fingerprint(run_dir / LAST, store, **settings)


def with_embeddings(
    method: ViewMethod,
    train: FeatureSet,
    val: FeatureSet,
    retrieve: bool,
    run_dir: Path,
    store: ViewStore,
    config: EvaluateConfig,
    device: torch.device,
) -> tuple[FeatureSet, FeatureSet]:
    """Add embeddings to the sets where these are probed or looked up.

    Args:
        method: the frozen method.
        train, val: features.
        retrieve: True where predictions are looked up.
        run_dir: run folder; holds the cache.
        store: the views.
        config: parts and retrieval.
        device: to compute on.
    """
    probed = EMBEDDING in (config.parts or ())
    needed = {
        "train": probed or (retrieve and (config.retrieval.train or config.retrieval.among_all)),
        "val": probed or retrieve,
    }
    sets = []
    for split, views in (("train", train), ("val", val)):
        if needed[split]:
            compute = partial(embed_features, method, views.parts, device)
            path, mark = run_dir / "features" / f"{split}_embedding.h5", features_mark(run_dir, store, split, config)
            made = cached_features(path, mark, compute) if config.cache else compute(in_memory)
            views = replace(views, parts={**views.parts, **made})
        sets.append(views)
    return sets[0], sets[1]
