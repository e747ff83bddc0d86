"""All probes of two feature sets, scored, with the trivial predictors beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.probes import FeatureRows, all_rows, pair_rows, predict, standardization, train_probes
from equissl.evaluation.views import scores
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.sampling import fixed_pairs
from equissl.evaluation.views.tasks import AUGMENTATIONS, NEEDS, Task, probe_tasks, why_impossible
from equissl.geometry import QuaternionSign
from equissl.metrics import constant_rotation_prediction

Log = Callable[[str], None]

RETRIEVAL, TRAIN_MODE = "retrieval", "train_mode"
SEQUENCE_PROTOCOLS = ("aggregate", "path_integration", "sequence_retrieval")
PROTOCOLS = (
    "classification",
    "rotation",
    "rotation_absolute",
    "hue",
    "hue_mlp",
    "hue_circular",
    "light",
    "translation_object",
    "translation_base",
    *AUGMENTATIONS,
    RETRIEVAL,
    TRAIN_MODE,
    *SEQUENCE_PROTOCOLS,
)
ON_REQUEST = ("hue_mlp", TRAIN_MODE)  # variants of others, left out of the default
ROTATIONS = ("rotation", "rotation_absolute")


def probe_all(
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    sign: QuaternionSign,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Every probe on every part, the trivial predictors, and collapse diagnostics.

    Returns:
        Flat scores; and per part, ``constant`` and ``identity`` among them, the rotation errors of all pairs in
        degrees.

    Raises:
        ValueError: an unknown protocol or part, or a protocol asked for that the store does not allow.
    """
    tasks = choose_tasks(train, val, num_classes, sign, config, log)
    names = choose_parts(train, config)
    pairs = val_pairs(val, tasks, config)
    results, errors = _baselines(tasks, train, val, num_classes, pairs, config)
    for part in names:
        results |= collapse_scores(val.parts[part], part)
    log(
        f"probing {', '.join(t.name for t in tasks)} on {', '.join(f'{n} ({train.parts[n].shape[-1]})' for n in names)}"
    )
    scalings = {part: standardization(train.parts[part]) if config.standardize else None for part in names}
    rows = [{part: FeatureRows(s.parts[part], scalings[part], device) for part in names} for s in (train, val)]
    probes = train_probes(tasks, rows[0], train, config.seed, config.probe_precision)
    found = predict(probes, rows[1], pairs, config.probe_precision)
    for probe in probes:
        entries, errors_deg = score_task(probe.task, found[probe.task.name, probe.part], probe.part, val, pairs)
        results |= entries
        if probe.task.name == "rotation" and errors_deg is not None:
            errors[probe.part] = errors_deg
    if config.individual:
        results |= {_individual(key): value for key, value in results.items() if key.startswith("rotation_absolute/")}
    return results, errors


def choose_tasks(
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    sign: QuaternionSign,
    config: EvaluateConfig,
    log: Log = lambda message: None,
) -> list[Task]:
    """The probe protocols to run: those asked for, or all that these views allow, with a line for each left out.

    Raises:
        ValueError: a protocol asked for is unknown or impossible, and why.
    """
    check_protocols(config)
    tasks = []
    for task in probe_tasks(num_classes, sign, config).values():
        asked = asked_for(task.name, config)
        if asked is False or (asked is None and task.name in ON_REQUEST):
            continue
        reason = why_impossible(task, train, val)
        if reason is None:
            tasks.append(task)
        elif asked:
            raise ValueError(f"protocol {task.name!r} is not possible here: {reason}")
        elif task.name not in AUGMENTATIONS or val.holds(*NEEDS[task.name]):  # nobody expects them of rendered objects
            log(f"skipping {task.name}: {reason}")
    return tasks


def asked_for(name: str, config: EvaluateConfig) -> bool | None:
    """True or False where the configuration says so, None where it leaves it to what is possible."""
    if name == "rotation_absolute" and config.individual:
        return True
    return None if config.protocols is None else name in config.protocols


def check_protocols(config: EvaluateConfig) -> None:
    """Raises ValueError for a protocol that does not exist."""
    if unknown := [name for name in config.protocols or () if name not in PROTOCOLS]:
        raise ValueError(f"expected protocols among {', '.join(PROTOCOLS)}, got {', '.join(map(repr, unknown))}")


def choose_parts(train: FeatureSet, config: EvaluateConfig) -> list[str]:
    """The parts to probe.

    Raises:
        ValueError: naming those that the method does not have.
    """
    wanted = config.parts if config.parts is not None else [part for part in train.parts if part != "embedding"]
    if missing := [part for part in wanted if part not in train.parts]:
        raise ValueError(f"expected parts among {list(train.parts)}, got {missing}")
    return list(wanted)


def val_pairs(val: FeatureSet, tasks: Sequence[Task], config: EvaluateConfig) -> np.ndarray:
    """(P, 3) the fixed pairs that two-view protocols are scored on; none where there is no such protocol."""
    if not any(task.pair for task in tasks):
        return np.empty((0, 3), np.int64)
    return fixed_pairs(val.objects, val.num_views, config.rotation.val_pairs, config.seed)


def _baselines(
    tasks: Sequence[Task],
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    pairs: np.ndarray,
    config: EvaluateConfig,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    results: dict[str, Any] = {}
    errors: dict[str, np.ndarray] = {}
    train_pairs = val_pairs(train, tasks, config)
    for task in tasks:
        if task.name == "classification":
            results |= scores.label_baselines(train.labels, val.labels, num_classes)
            continue
        target = _targets(task, val, pairs)
        constant = _constant(task, target, _targets(task, train, train_pairs))
        for name, preds in (("constant", constant), ("identity", _unchanged(task, val, len(target)))):
            if preds is not None:
                entries, errors_deg = score_task(task, preds, name, val, pairs)
                results |= entries
                if task.name == "rotation" and errors_deg is not None:
                    errors[name] = errors_deg
    return results, errors


def _constant(task: Task, target: Tensor, source: Tensor) -> Tensor:
    if task.name in ROTATIONS:
        return constant_rotation_prediction(target, source)
    return source.double().mean(0).expand(len(target), -1)


def _unchanged(task: Task, views: FeatureSet, rows: int) -> Tensor | None:
    """What a predictor says that takes both views for the same, or every object to be unturned."""
    if task.name in ROTATIONS:
        return scores.identity_prediction(rows)
    if task.relate is None:
        return None
    nothing = torch.zeros_like(task.view_targets(views)[0, :1])
    return task.relate(nothing, nothing).expand(rows, -1)


def _targets(task: Task, views: FeatureSet, pairs: np.ndarray) -> Tensor:
    rows = pair_rows(pairs) if task.pair else all_rows(len(views.objects), views.num_views)
    return task.targets(task.view_targets(views), *rows)


def score_task(
    task: Task, preds: Tensor, part: str, val: FeatureSet, pairs: np.ndarray
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Flat scores of one task's outputs; for rotations also the errors in degrees."""
    if task.name == "classification":
        logits = preds.view(len(val.objects), val.num_views, -1)
        return scores.classification_scores(logits, val.labels, part), None
    target = _targets(task, val, pairs)
    owners = pairs[:, 0] if task.pair else np.repeat(np.arange(len(val.objects)), val.num_views)
    if task.name in ROTATIONS:
        return scores.rotation_scores(preds, target, owners, part, task.name)
    return scores.regression_scores(preds, target, owners, part, task.name), None


def _individual(key: str) -> str:
    return key.replace("rotation_absolute/", "individual/", 1)
