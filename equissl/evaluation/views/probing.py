"""Training and scoring of all probes on two feature sets, with their baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.probes import FeatureRows, all_rows, pair_rows, predict, standardization, train_probes
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.sampling import fixed_pairs
from equissl.evaluation.views.scores import Scores
from equissl.evaluation.views.tasks import Task, asked_for, wanted_tasks, why_impossible
from equissl.geometry import QuaternionSign
from equissl.metrics import rotation_errors_deg
from equissl.util.progress import Log

PAIRED_ROTATION = "rotation"  # whose errors are kept pair by pair


def probe_all(
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    sign: QuaternionSign,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Train and score every probe on every part, with the baselines and collapse diagnostics.

    Args:
        train: features to learn from.
        val: features to score on.
        num_classes: number of classes.
        sign: of the target quaternions.
        config: protocols, parts and budgets.
        device: to compute on.
        log: called with lines on progress.

    Returns:
        Flat scores; and per part, ``constant`` and ``identity`` among them, the rotation errors of all pairs in
        degrees.

    Raises:
        ValueError: an unknown protocol or part, a protocol asked for that the store does not allow, or one whose
            targets and scores do not fit; always before any head is trained.
    """
    tasks = choose_tasks(train, val, num_classes, sign, config, log)
    names = choose_parts(train, config)
    pairs = val_pairs(val, tasks, config)
    for task in tasks:
        check_task(task, val, pairs)
    results, errors = _baselines(tasks, train, val, pairs, config)
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
        preds = found[probe.task.name, probe.part]
        results |= score_task(probe.task, preds, probe.part, val, pairs)
        if probe.task.name == PAIRED_ROTATION:
            errors[probe.part] = _errors_deg(preds, _targets(probe.task, val, pairs))
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
    """Choose the probe protocols: those asked for, or all that these views allow, with a line for each left out.

    Args:
        train: features to learn from.
        val: features to score on.
        num_classes: number of classes.
        sign: of the target quaternions.
        config: protocols.
        log: called with a line for each left out.

    Raises:
        ValueError: a protocol asked for is unknown or impossible, and why.
    """
    tasks = []
    for name, task in wanted_tasks(num_classes, sign, config).items():
        reason = why_impossible(task, train, val) or why_constant(task, val, val_pairs(val, [task], config))
        if reason is None:
            tasks.append(task)
        elif asked_for(name, config):
            raise ValueError(f"protocol {name!r} is not possible here: {reason}")
        elif task.usual or val.holds(*task.needs):
            log(f"skipping {name}: {reason}")
    return tasks


def why_constant(task: Task, val: FeatureSet, pairs: np.ndarray) -> str | None:
    """Return the reason why nothing can be regressed on these views, or None where the target varies.

    Args:
        task: the protocol.
        val: the validation views.
        pairs: (P, 3) those that two-view protocols are scored on.

    Raises:
        ValueError: the protocol does not fit.
    """
    if task.scoring.varies(_checked_targets(task, val, pairs)):
        return None
    return f"its target is the same in every {'pair of validation views' if task.pair else 'validation view'}"


def check_task(task: Task, val: FeatureSet, pairs: np.ndarray) -> None:
    """Score a head that always answers one, so that a fault of a protocol shows before any head is trained.

    Args:
        task: the protocol.
        val: the validation views.
        pairs: (P, 3) those that two-view protocols are scored on.

    Raises:
        ValueError: naming the protocol and its fault.
    """
    target = _checked_targets(task, val, pairs)
    with _named_fault(task):
        ones = torch.ones(len(target), task.out_dim)
        task.loss(ones, target.float() if target.is_floating_point() else target)
        score_task(task, ones, "ones", val, pairs)


def _checked_targets(task: Task, val: FeatureSet, pairs: np.ndarray) -> Tensor:
    """Return the targets (P, …) of the validation rows, or raise the error of a protocol that does not fit."""
    with _named_fault(task):
        known = task.view_targets(val)
        if known.shape[:2] != val.quats.shape[:2]:
            views = tuple(val.quats.shape[:2])
            raise ValueError(f"expected something known of every view, {views}, got shape {tuple(known.shape)}")
        target = _targets(task, val, pairs)
        if task.loss is F.mse_loss and target.shape[1:] != (task.out_dim,):
            raise ValueError(f"expected targets (P, {task.out_dim}), got {tuple(target.shape)}")
        return target


@contextmanager
def _named_fault(task: Task) -> Iterator[None]:
    """Name the protocol in whatever error its functions raise."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"protocol {task.name!r} does not fit: {error}") from error


def choose_parts(train: FeatureSet, config: EvaluateConfig) -> list[str]:
    """Choose the parts to probe.

    Args:
        train: features; their parts can be chosen.
        config: parts asked for; without them all but the embedding.

    Raises:
        ValueError: naming those that the method does not have.
    """
    wanted = config.parts if config.parts is not None else [part for part in train.parts if part != "embedding"]
    if missing := [part for part in wanted if part not in train.parts]:
        raise ValueError(f"expected parts among {list(train.parts)}, got {missing}")
    return list(wanted)


def val_pairs(val: FeatureSet, tasks: Sequence[Task], config: EvaluateConfig) -> np.ndarray:
    """Return the fixed pairs (P, 3) that two-view protocols are scored on; none where there is no such protocol.

    Args:
        val: features to score on.
        tasks: the protocols.
        config: number and seed of the pairs.
    """
    if not any(task.pair for task in tasks):
        return np.empty((0, 3), np.int64)
    return fixed_pairs(val.objects, val.num_views, config.rotation.val_pairs, config.seed)


def _baselines(
    tasks: Sequence[Task], train: FeatureSet, val: FeatureSet, pairs: np.ndarray, config: EvaluateConfig
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    results: dict[str, Any] = {}
    errors: dict[str, np.ndarray] = {}
    train_pairs = val_pairs(train, tasks, config)
    for task in tasks:
        target, source = _targets(task, val, pairs), _targets(task, train, train_pairs)
        same = partial(_unchanged, task, val, len(target)) if task.pair else None
        results |= task.scoring.baselines(target, source, _owners(task, val, pairs), task.name, same)
        if task.name == PAIRED_ROTATION:
            trivial = task.scoring.trivial(target, source, same)
            errors = {name: _errors_deg(preds, target) for name, preds in trivial.items()}
    return results, errors


def _unchanged(task: Task, views: FeatureSet, rows: int) -> Tensor:
    """Predict that both views are the same."""
    nothing = torch.zeros_like(task.view_targets(views)[0, :1])
    return task.targets(nothing[None], *torch.zeros(3, 1, dtype=torch.long)).expand(rows, -1)


def _targets(task: Task, views: FeatureSet, pairs: np.ndarray) -> Tensor:
    rows = pair_rows(pairs) if task.pair else all_rows(len(views.objects), views.num_views)
    return task.targets(task.view_targets(views), *rows)


def _owners(task: Task, views: FeatureSet, pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] if task.pair else np.repeat(np.arange(len(views.objects)), views.num_views)


def score_task(task: Task, preds: Tensor, part: str, val: FeatureSet, pairs: np.ndarray) -> Scores:
    """Score one task's outputs.

    Args:
        task: the protocol.
        preds: (P, D) outputs of its head.
        part: name of the probed features.
        val: the validation views.
        pairs: (P, 3) those that two-view protocols are scored on.
    """
    return task.scoring.scores(preds, _targets(task, val, pairs), _owners(task, val, pairs), part, task.name)


def _errors_deg(preds: Tensor, target: Tensor) -> np.ndarray:
    return rotation_errors_deg(preds, target).double().numpy()


def _individual(key: str) -> str:
    return key.replace("rotation_absolute/", "individual/", 1)
