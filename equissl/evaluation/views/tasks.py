"""Probe protocols: the target, needs, head and scores of each, found by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.sampling import num_steps
from equissl.evaluation.views.scoring import DISTANCES, Scoring
from equissl.geometry import QuaternionSign
from equissl.util.registry import Registry, is_import_path

RETRIEVAL, SUBJECT, TRAIN_MODE = "retrieval", "subject", "train_mode"
PREFERENCE, TRANSLATION = "preference", "translation"
SEQUENCE_PROTOCOLS = ("aggregate", "path_integration", "sequence_retrieval")
OTHER_PROTOCOLS = (
    RETRIEVAL,
    SUBJECT,
    TRAIN_MODE,
    PREFERENCE,
    TRANSLATION,
    *SEQUENCE_PROTOCOLS,
)  # what is measured without a probe of single features

Budget = LinearProbeConfig | RotationProbeConfig | HueProbeConfig


@dataclass(frozen=True)
class ProbeSetting:
    """Facts that a protocol may depend on.

    Attributes:
        num_classes: classes of the store.
        sign: of quaternions.
        config: budgets and heads.
    """

    num_classes: int
    sign: QuaternionSign
    config: EvaluateConfig


@dataclass(frozen=True)
class Task:
    """One probe protocol, ready for a pair of feature sets.

    Attributes:
        name: first component of its keys in the results.
        out_dim: outputs of the head.
        budget: updates, batch size and learning rate.
        view_targets: (N, V, …) what is known of every view.
        relate: for two-view protocols, the target from what is known of both views; None where one view goes in.
        loss: of (outputs, targets).
        hidden: widths of the head's hidden layers.
        scoring: of the outputs.
        needs: latents that the store must hold, and that must vary.
        obstacle: a further reason why it has no meaning on these validation views, or None.
        on_request: left out unless it is asked for by name.
        usual: a line says where a store lacks what it needs; without one otherwise.
    """

    name: str
    out_dim: int
    budget: Budget
    view_targets: Callable[[FeatureSet], Tensor]
    relate: Callable[[Tensor, Tensor], Tensor] | None = None
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss
    hidden: tuple[int, ...] = ()
    scoring: Scoring = DISTANCES
    needs: tuple[str, ...] = ()
    obstacle: Callable[[FeatureSet], str | None] = lambda views: None
    on_request: bool = False
    usual: bool = True

    @property
    def pair(self) -> bool:
        return self.relate is not None

    def steps(self, num_objects: int) -> int:
        """Return the number of updates for this many training objects."""
        return num_steps(self.budget.epochs, self.budget.steps, num_objects, self.budget.batch_size)

    def targets(self, known: Tensor, item: Tensor, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Return the targets of single views, or of pairs, given by object position and view indices.

        Args:
            known: (N, V, …) known values of every view.
            item: (B,) positions of the objects.
            first: (B,) view, or first view of each pair.
            second: (B,) second view of each pair.
        """
        if self.relate is None:
            return known[item, first]
        return self.relate(known[item, first], known[item, second])


#: Functions of a `ProbeSetting` that give a `Task`, in the order of the results.
PROBES: Registry[Callable[[ProbeSetting], Task]] = Registry(
    "protocol",
    {
        "classification": "equissl.evaluation.views.probe_tasks:classification",
        "worst_group": "equissl.evaluation.views.probe_tasks:worst_group",
        "rotation": "equissl.evaluation.views.probe_tasks:rotation",
        "rotation_absolute": "equissl.evaluation.views.probe_tasks:rotation_absolute",
        "hue": "equissl.evaluation.views.probe_tasks:hue",
        "hue_mlp": "equissl.evaluation.views.probe_tasks:hue_mlp",
        "hue_circular": "equissl.evaluation.views.probe_tasks:hue_circular",
        "light": "equissl.evaluation.views.probe_tasks:light",
        "translation_object": "equissl.evaluation.views.probe_tasks:translation_object",
        "translation_base": "equissl.evaluation.views.probe_tasks:translation_base",
        "crop": "equissl.evaluation.views.probe_tasks:crop",
        "jitter": "equissl.evaluation.views.probe_tasks:jitter",
        "blur": "equissl.evaluation.views.probe_tasks:blur",
        "position": "equissl.evaluation.views.probe_tasks:position",
    },
    group="equissl.probes",
)


def make_task(name: str, setting: ProbeSetting) -> Task:
    """Make the protocol of that name.

    Args:
        name: one of :data:`PROBES`, or the import path of a function of a `ProbeSetting` or of a subclass of `Task`.
        setting: what it may depend on.

    Raises:
        ValueError: for an unknown name, or something else than a `Task`.
    """
    task = PROBES[name](setting)
    if not isinstance(task, Task):
        raise ValueError(f"expected protocol {name!r} to give a Task, got {task!r}")
    return task


def wanted_tasks(num_classes: int, sign: QuaternionSign, config: EvaluateConfig) -> dict[str, Task]:
    """Make the probe protocols that are asked for, or all that need not be asked for, by name.

    Args:
        num_classes: classes of the store.
        sign: of target quaternions.
        config: what is asked for, budgets and heads.

    Raises:
        ValueError: for a protocol that does not exist, or two of one name.
    """
    asked = [name for name in config.protocols or () if name not in OTHER_PROTOCOLS]
    if unknown := [name for name in asked if name not in PROBES and not is_import_path(name)]:
        raise PROBES.unknown(unknown[0], OTHER_PROTOCOLS)
    setting = ProbeSetting(num_classes, sign, config)
    names = [name for name in dict.fromkeys([*PROBES, *asked]) if asked_for(name, config) is not False]
    tasks = {name: make_task(name, setting) for name in names}
    tasks = {name: task for name, task in tasks.items() if asked_for(name, config) or not task.on_request}
    for name, task in tasks.items():
        if twins := [other for other in tasks if other != name and tasks[other].name == task.name]:
            raise ValueError(f"expected protocols of different names, got {task.name!r} from {name!r} and {twins[0]!r}")
    return tasks


def asked_for(name: str, config: EvaluateConfig) -> bool | None:
    """Return True or False where the configuration decides, None where it leaves it to what is possible.

    Args:
        name: of the protocol.
        config: protocols asked for, if any.
    """
    if name == "rotation_absolute" and config.individual:
        return True
    return None if config.protocols is None else name in config.protocols


def why_impossible(task: Task, train: FeatureSet, val: FeatureSet) -> str | None:
    """Return the reason why a protocol has no meaning on these views, or None where it has.

    Args:
        task: the protocol.
        train, val: the views.
    """
    if task.pair and min(train.num_views, val.num_views) < 2:
        return "it compares two views of an object, and the store holds one"
    if (obstacle := task.obstacle(val)) is not None:
        return obstacle
    if task.needs and not val.holds(*task.needs):
        return f"the store does not hold the latents {', '.join(task.needs)}"
    if task.needs and not any(_varies(side.columns(*task.needs)) for side in (train, val)):
        return f"{', '.join(task.needs)} are the same in every view of the store"
    return None


def _varies(values: Tensor) -> bool:
    return bool((values.flatten(0, 1).var(0, correction=0) > 1e-12).any())
