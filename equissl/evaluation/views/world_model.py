"""Evaluation of a sequence world model: classes from several views, path integration, prediction of the next view.

Ghaemi et al. 2025 (seq-JEPA, arXiv 2505.03176).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.evaluation.probes import FeatureRows, Probe, predict, standardization, train_probes
from equissl.evaluation.views import scores
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scores import Scores
from equissl.evaluation.views.sequences import (
    Sequences,
    aggregates,
    draw_sequences,
    path_inputs,
    predictions,
)
from equissl.evaluation.views.tasks import SEQUENCE_PROTOCOLS, Task, asked_for
from equissl.methods.views.actions import Action
from equissl.metrics import constant_rotation_prediction, r2_uniform, rotation_errors_deg
from equissl.metrics import retrieval as metrics
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods import SeqJEPA

Device = torch.device | str
Scaling = tuple[Tensor, Tensor] | None

AGGREGATE, PATH, LOOK_UP = SEQUENCE_PROTOCOLS
HITS = (1, 5)
FIT_ROWS = 1 << 16  # sequences that a linear head is fitted to at most
NOTHING = np.empty((0, 3), np.int64)  # no pairs
WHOLE, BLIND = "full", "no_vision"
ABLATIONS: dict[str, dict[str, bool]] = {
    WHOLE: {},
    BLIND: {"vision": False},
    "no_actions": {"actions": False},
}


def why_no_sequences(method: object) -> str | None:
    """Return the reason why a method cannot be evaluated on view sequences, or None where it can."""
    if hasattr(method, "aggregate") and hasattr(method, "embed_actions"):
        return None
    return f"{type(method).__name__} does not aggregate views"


def choose_sequence_protocols(
    method: object, config: EvaluateConfig, log: Log = lambda message: None
) -> tuple[str, ...]:
    """Choose the protocols of view sequences to run.

    Args:
        method: the frozen method.
        config: protocols asked for, if any.
        log: called with a line for each left out.

    Raises:
        ValueError: one is asked for by name of a method that does not aggregate views.
    """
    wanted = tuple(name for name in SEQUENCE_PROTOCOLS if asked_for(name, config) is not False)
    reason = why_no_sequences(method)
    if reason is None or not wanted:
        return wanted
    if config.protocols is not None:
        raise ValueError(f"protocols {', '.join(wanted)} are not possible here: {reason}")
    log(f"skipping {', '.join(wanted)}: {reason}")
    return ()


def world_model_scores(
    method: SeqJEPA,
    train: FeatureSet,
    val: FeatureSet,
    num_classes: int,
    config: EvaluateConfig,
    protocols: tuple[str, ...] = SEQUENCE_PROTOCOLS,
    device: Device = "cpu",
    log: Log = lambda message: None,
) -> Scores:
    """Compute the protocols of sequences, for each number of observed views M that the store has room for.

    Args:
        method: a method that aggregates views.
        train, val: features ``all`` of every view, and latents.
        num_classes: classes of the store.
        config: budgets; ``sequence`` says which M, and how many sequences of each object.
        protocols: which of :data:`SEQUENCE_PROTOCOLS`.
        device: of networks and heads.
        log: called with one line per protocol.
    """
    settings = config.sequence
    results: Scores = {}
    most = min(train.num_views, val.num_views)
    lengths = [length for length in settings.lengths if length <= most]
    if not lengths:
        log(
            f"skipping {', '.join(protocols)}: the store holds {most} views of an object, below {min(settings.lengths)}"
        )
        return {}
    further = [length for length in lengths if length < most]
    sets = [draw_sequences(v, min(most, max(lengths) + 1), settings.sequences, config.seed) for v in (train, val)]
    if AGGREGATE in protocols:
        log(f"classes from {', '.join(map(str, lengths))} views, {settings.sequences} sequences of each object")
        results |= aggregate_scores(method, sets[0], sets[1], lengths, num_classes, config, device)
    if PATH in protocols and further:
        moving = [length for length in further if _moves(method, sets[1], length)]
        if not moving:
            log(f"skipping {PATH}: the action is the same in every sequence of validation views")
        else:
            log(f"path integration over {', '.join(map(str, moving))} steps")
            results |= path_scores(method, sets[0], sets[1], moving, config, device)
    if LOOK_UP in protocols and further:
        log(f"looking up predictions from {', '.join(map(str, further))} views")
        results |= look_up_scores(method, draw_sequences(val, most, 1, config.seed), further, config, device)
    return results


def aggregate_scores(
    method: SeqJEPA,
    train: Sequences,
    val: Sequences,
    lengths: list[int],
    num_classes: int,
    config: EvaluateConfig,
    device: Device = "cpu",
) -> Scores:
    """Compute top-1 and top-5 of a linear classifier on the aggregate, one for each number of views.

    ``top1_gain`` is the difference to the fewest views, in pairs: with the standard error over objects.

    Args:
        method: the frozen method.
        train: sequences to learn from.
        val: sequences to score on.
        lengths: numbers of views observed.
        num_classes: number of classes.
        config: budget of the classifier.
        device: to compute on.
    """
    results: Scores = {}
    task = Task("classes", num_classes, config.classification, _labels, loss=F.cross_entropy)
    fewest: np.ndarray | None = None
    for length in lengths:
        parts = [aggregates(method, s, length, device) for s in (train, val)]
        probes, scaling = _train(task, train.known({}), {"all": parts[0]}, config, device)
        logits = _predict(probes, {"all": parts[1]}, scaling, config, device)["all"]
        objects, each = parts[1].shape[:2]
        labels, owners = val.views.labels.repeat_interleave(each), np.repeat(np.arange(objects), each)
        found = scores.classification_scores(logits, labels, owners, str(length))
        for key, value in found.items():
            _, part, measure = key.split("/")
            results[f"{AGGREGATE}/{measure}/{part}"] = value
        right = (logits.argmax(-1) == labels).double().numpy()
        fewest = right if fewest is None else fewest
        results |= _gain(right - fewest, owners, f"{AGGREGATE}/top1_gain", length)
    return results


def path_scores(
    method: SeqJEPA,
    train: Sequences,
    val: Sequences,
    lengths: list[int],
    config: EvaluateConfig,
    device: Device = "cpu",
) -> Scores:
    """Score the action of the whole path, read from the aggregate and the last action, with ablations of both.

    The target is the action from the first view to the one after the last observed. Views or actions are zeroed in the
    frozen model. Each variant has its own heads: the rotation probe's MLP, and a least squares fit (group
    ``path_integration_linear``), which for one step, where the answer is part of the input, is exact. ``…_same_head``
    are scores of the head that learned with views and actions. ``gain_deg`` is how much nearer the answers come with
    views than with actions alone, each with heads of their own, in pairs: with the standard error over objects.

    Args:
        method: the frozen method.
        train: sequences to learn from.
        val: sequences to score on.
        lengths: numbers of views observed.
        config: budget of the rotation probe.
        device: to compute on.
    """
    results: Scores = {}
    action = _action(method, val)
    ablations = ABLATIONS if method.action is not None else {WHOLE: {}}
    for length in lengths:
        known, target = (path_targets(action, s, length) for s in (train, val))
        inputs = {
            name: tuple(path_inputs(method, s, length, device=device, **zeroed) for s in (train, val))
            for name, zeroed in ablations.items()
        }
        found = {
            PATH: _way_heads(train.known({}, known), inputs, action.dim, config, device),
            f"{PATH}_linear": {name: least_squares(x, known, y) for name, (x, y) in inputs.items()},
        }
        for group, by_name in found.items():
            for name, preds in by_name.items():
                results |= _path_entries(preds, target.flatten(0, 1), action, group, f"{name}/{length}")
        if "quaternion" in action.parts and BLIND in ablations:
            blind, seeing = (_errors_deg(found[PATH][name], target, action) for name in (BLIND, WHOLE))
            results |= _gain(
                blind - seeing, np.repeat(np.arange(len(target)), target.shape[1]), f"{PATH}/gain_deg", length
            )
        if "quaternion" in action.parts:
            way, ways = (_quats(action, x.flatten(0, 1)) for x in (target, known))
            errors = rotation_errors_deg(constant_rotation_prediction(way, ways), way)
            results[f"{PATH}/mean_deg/constant/{length}"] = float(errors.mean())
    return results


def _action(method: SeqJEPA, sequences: Sequences) -> Action:
    return method.action or Action(_kind(sequences.views))


def _moves(method: SeqJEPA, sequences: Sequences, length: int) -> bool:
    """Return True where the action of the whole path differs between sequences."""
    target = path_targets(_action(method, sequences), sequences, length).flatten(0, 1)
    return bool((target.var(0, correction=0) > 1e-12).any())


def _way_heads(
    known: FeatureSet, inputs: dict[str, tuple[Tensor, ...]], outputs: int, config: EvaluateConfig, device: Device
) -> dict[str, Tensor]:
    """Compute outputs (P, A) of a head for each variant, and for the ablations also of the head of the whole input."""
    task = Task(PATH, outputs, config.rotation, _latents, hidden=config.rotation.hidden)
    probes, scaling = _train(task, known, {name: x for name, (x, _) in inputs.items()}, config, device)
    found = _predict(probes, {name: y for name, (_, y) in inputs.items()}, scaling, config, device)
    others = {name: y for name, (_, y) in inputs.items() if name != WHOLE}
    moved = [replace(probe, part=name) for probe in probes if probe.part == WHOLE for name in others]
    same = _predict(moved, others, dict.fromkeys(others, scaling[WHOLE]), config, device)
    return found | {f"{name}_same_head": preds for name, preds in same.items()}


def path_targets(action: Action, sequences: Sequences, length: int) -> Tensor:
    """Compute the action (N, K, A) from the first view of each sequence to the one after ``length`` views, float64.

    Args:
        action: relates two views of a batch.
        sequences: the view sequences.
        length: number of views observed.
    """
    found = [action(batch, 0, length).double() for _, batch in sequences.blocks(length + 1)]
    return torch.cat(found).unflatten(0, sequences.order.shape[:2])


def look_up_scores(
    method: SeqJEPA, sequences: Sequences, lengths: list[int], config: EvaluateConfig, device: Device = "cpu"
) -> Scores:
    """Compute MRR and H@k of predicted views among all views of the object; observed views are no targets.

    Beside it the scores of a prediction for another view (``ignored_action``), of the last observed view (``source``),
    and of chance.

    Args:
        method: the frozen method.
        sequences: the view sequences.
        lengths: numbers of views observed.
        config: ``retrieval`` says whether representations are normalised.
        device: to compute on.
    """
    results: Scores = {}
    seen = next_features(sequences)
    for length in lengths:
        target = torch.arange(length, sequences.length)
        source = seen[:, length - 1 : length].expand(-1, len(target), -1)
        found = {
            "": predictions(method, sequences, length, device)[:, 0],
            "/ignored_action": predictions(method, sequences, length, device, misled=True)[:, 0],
            "/source": source,
        }
        for suffix, predicted in found.items():
            above, tied = metrics.view_ranks(predicted, seen, target, config.retrieval.normalize)
            results[f"{LOOK_UP}/mrr{suffix}/{length}"] = metrics.mean_reciprocal_rank(above, tied)
            results |= {f"{LOOK_UP}/h{k}{suffix}/{length}": metrics.hit_rate(above, tied, k) for k in HITS}
    results[f"{LOOK_UP}/mrr/chance"] = metrics.chance_mrr(sequences.length)
    return results | {f"{LOOK_UP}/h{k}/chance": min(1.0, k / sequences.length) for k in HITS}


def next_features(sequences: Sequences) -> Tensor:
    """Return (N, L, D) representations in the order of the first sequence of each object."""
    item = torch.arange(len(sequences.order))
    return sequences.views.parts["all"][item[:, None], sequences.order[:, 0]].float()


def least_squares(train: Tensor, target: Tensor, val: Tensor) -> Tensor:
    """Return predictions (P, A) of the linear head with least squared error on the training sequences.

    Args:
        train: (N, K, D) inputs to fit.
        target: (N, K, A) targets to fit.
        val: (M, K, D) inputs to predict for.
    """
    rows, known = train.flatten(0, 1), target.flatten(0, 1).double()
    few = slice(None, None, max(1, -(-len(rows) // FIT_ROWS)))
    mean, scale = standardization(train)
    centre = known[few].mean(0)
    design = (rows[few] - mean) / scale
    solution = torch.linalg.lstsq(design, known[few] - centre, rcond=1e-10, driver="gelsd").solution
    return ((val.flatten(0, 1) - mean) / scale) @ solution + centre


def _path_entries(preds: Tensor, target: Tensor, action: Action, group: str, name: str) -> Scores:
    varies = target.var(0, correction=0) > 1e-12
    found: Scores = {f"{group}/r2_uniform/{name}": r2_uniform(preds[:, varies], target[:, varies])}
    if "quaternion" in action.parts:
        found[f"{group}/mean_deg/{name}"] = float(_errors_deg(preds, target, action).mean())
    return found


def _errors_deg(preds: Tensor, target: Tensor, action: Action) -> np.ndarray:
    """Return angles (P,) between rotations of (…, A) values."""
    quats = (_quats(action, values.reshape(-1, values.shape[-1])) for values in (preds, target))
    return rotation_errors_deg(*quats).double().numpy()


def _gain(differences: np.ndarray, owners: np.ndarray, key: str, length: int) -> Scores:
    """Return mean and standard error over objects of paired differences (P,)."""
    means = scores.per_object_means(differences, owners)
    return {f"{key}/{length}": float(means.mean()), f"{key}_se/{length}": scores.standard_error(means)}


def _quats(action: Action, values: Tensor) -> Tensor:
    start = action.start("quaternion")
    return values[:, start : start + 4]


def _kind(views: FeatureSet) -> str:
    """Return the kind of action where the method names none."""
    for part in ("position", "crop", "blur"):
        if views.holds(*Action(part).latents):
            return part
    return "quaternion"


def _train(
    task: Task, known: FeatureSet, parts: dict[str, Tensor], config: EvaluateConfig, device: Device
) -> tuple[list[Probe], dict[str, Scaling]]:
    scaling: dict[str, Scaling] = {n: standardization(x) if config.standardize else None for n, x in parts.items()}
    rows = {name: FeatureRows(x, scaling[name], device) for name, x in parts.items()}
    return train_probes([task], rows, known, config.seed, config.probe_precision), scaling


def _predict(
    probes: list[Probe], parts: dict[str, Tensor], scaling: dict[str, Scaling], config: EvaluateConfig, device: Device
) -> dict[str, Tensor]:
    """Compute outputs on all validation rows by part."""
    rows = {name: FeatureRows(x, scaling[name], device) for name, x in parts.items()}
    return {part: out for (_, part), out in predict(probes, rows, NOTHING, config.probe_precision).items()}


def _labels(views: FeatureSet) -> Tensor:
    return views.labels[:, None].expand(-1, views.num_views)


def _latents(views: FeatureSet) -> Tensor:
    assert views.latents is not None
    return views.latents
