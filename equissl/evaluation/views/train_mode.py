"""SIE's probes as in its scripts: the backbone stays in train mode while the head is trained.

Batch norm then normalises each training batch with its own statistics and moves its running ones, with which validation
views are normalised at the end, so the "frozen" network is not the pretrained one any more. The numbers are kept beside
those of the frozen network, under names of their own, for comparison with published ones.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.probes import FeatureRows, Probe, predict
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet, extract_features
from equissl.evaluation.views.online import OnlineProbe
from equissl.evaluation.views.probing import choose_parts, choose_tasks, score_task, val_pairs
from equissl.evaluation.views.tasks import TRAIN_MODE, Task
from equissl.geometry import QuaternionSign
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

TASKS = ("classification", "rotation")


def train_mode_scores(
    method: ViewMethod,
    store: ViewStore,
    train: FeatureSet,
    val: FeatureSet,
    sign: QuaternionSign,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Compute ``classification_train_mode/…`` and ``rotation_train_mode/…`` of every part.

    Each head has its own copy of the network, as each script run has. The backbone works in full precision, every
    update computes its views anew, and features are not standardised, as published: slow.

    Args:
        method: the method of the run.
        store: the views.
        train: features of the training views; give objects and targets.
        val: features of the validation views; give objects and targets.
        sign: of the target quaternions.
        config: parts and budgets.
        device: to compute on.
        log: called with lines on progress.
    """
    tasks = train_mode_tasks(train, val, len(store.classes), sign, config, log)
    pairs = val_pairs(val, tasks, config)
    results: dict[str, Any] = {}
    for task in tasks:
        for part in choose_parts(train, config):
            log(f"{task.name} on {part}, backbone in train mode")
            own = copy.deepcopy(method)
            probe = OnlineProbe(own, store, task, part, train, val, train_mode=True, device=device, seed=config.seed)
            probe.fit(task.steps(len(train.objects)))
            drifted = extract_features(own, store, val.objects, batch_size=config.batch_size, device=device)[part]
            done = Probe(task, part, probe.head, task.view_targets(val), 0)
            found = predict([done], {part: FeatureRows(drifted, None, device)}, pairs)
            entries = score_task(task, found[task.name, part], part, val, pairs)
            group = f"{task.name}/"
            results |= {key.replace(group, f"{task.name}_train_mode/", 1): value for key, value in entries.items()}
    return results


def train_mode_tasks(
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    sign: QuaternionSign,
    config: EvaluateConfig,
    log: Log = lambda message: None,
) -> list[Task]:
    """Choose those of the two protocols that the views allow.

    Args:
        train: features to learn from.
        val: features to score on.
        num_classes: number of classes.
        sign: of the target quaternions.
        config: budgets.
        log: called with a line for each left out.

    Raises:
        ValueError: neither is possible.
    """
    wanted = replace(config, protocols=None, individual=False)
    possible = choose_tasks(train, val, num_classes, sign, wanted)
    found = [task for task in possible if task.name in TASKS]
    if not found:
        raise ValueError(f"protocol {TRAIN_MODE!r} is not possible here: neither {' nor '.join(TASKS)} is")
    for name in TASKS:
        if name not in [task.name for task in found]:
            log(f"skipping {name} in train mode, for the same reason as with the frozen network")
    return found
