"""Scores on unseen objects in poses that no training view had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.cached import split_features
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.probing import choose_tasks, probe_all
from equissl.evaluation.views.tasks import asked_for
from equissl.evaluation.views.world_model import world_model_scores
from equissl.geometry import QuaternionSign
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod


def ood_features(
    method: ViewMethod,
    store: ViewStore,
    run_dir: Path,
    config: EvaluateConfig,
    device: torch.device,
    log: Log = lambda message: None,
) -> FeatureSet:
    """Return features of unseen objects in poses that no training view had, of ``config.ood_store``.

    Args:
        method: the frozen method.
        store: of the training views; its classes are expected in the other one.
        run_dir: run folder; holds the cache of features.
        config: extraction, and the other store.
        device: to compute on.
        log: called with lines on progress.

    Raises:
        ValueError: other classes than the store's.
    """
    other = ViewStore(str(config.ood_store))
    if other.classes != store.classes:
        raise ValueError(f"expected {other.path} to hold the {len(store.classes)} classes of {store.path}")
    log(f"poses out of the training range: {other.path}")
    return split_features(method, other, run_dir, "val", config, device, log, name="ood")


def ood_scores(
    method: ViewMethod,
    train: FeatureSet,
    val: FeatureSet,
    store: ViewStore,
    sign: QuaternionSign,
    protocols: tuple[str, ...],
    config: EvaluateConfig,
    device: torch.device,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Score heads trained on ``train`` on the views of `ood_features`; what these do not allow is left out.

    Args:
        method: the frozen method.
        train: features that the heads learn from.
        val: features to score on.
        store: of the training views.
        sign: of target quaternions.
        protocols: of view sequences.
        config: probes.
        device: to compute on.
        log: called with lines on progress.
    """
    classes = len(store.classes)
    possible = choose_tasks(train, val, classes, sign, replace(config, protocols=None), log)
    asked = [task.name for task in possible if asked_for(task.name, config) is not False]
    results, _ = probe_all(train, val, classes, sign, replace(config, protocols=asked), device, log)
    if protocols:
        results |= world_model_scores(method, train, val, classes, config, protocols, device, log)
    return {f"ood/{key}": value for key, value in results.items()}
