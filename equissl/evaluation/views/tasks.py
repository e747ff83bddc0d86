"""The probe protocols: what each predicts from frozen features, from how many views, with which head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.views.schema import BLUR, CROP, JITTER, POSITION, ROTATION, TRANSLATION
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.sampling import num_steps
from equissl.geometry import QuaternionSign, relative_unitquat, unitquat_to_rotmat

Budget = LinearProbeConfig | RotationProbeConfig | HueProbeConfig

AUGMENTATIONS = {"crop": CROP, "jitter": JITTER, "blur": BLUR, "position": POSITION}
HUES = ("floor_hue", "light_hue")
LIGHT = ("light_theta", "light_phi")


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
    """

    name: str
    out_dim: int
    budget: Budget
    view_targets: Callable[[FeatureSet], Tensor]
    relate: Callable[[Tensor, Tensor], Tensor] | None = None
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss
    hidden: tuple[int, ...] = ()

    @property
    def pair(self) -> bool:
        return self.relate is not None

    def steps(self, num_objects: int) -> int:
        """Updates for this many training objects."""
        return num_steps(self.budget.epochs, self.budget.steps, num_objects, self.budget.batch_size)

    def targets(self, known: Tensor, item: Tensor, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Targets of single views, or of pairs, given by object position and view indices."""
        if self.relate is None:
            return known[item, first]
        return self.relate(known[item, first], known[item, second])


def probe_tasks(num_classes: int, sign: QuaternionSign, config: EvaluateConfig) -> dict[str, Task]:
    """Every probe protocol by name, in the order of the results."""
    r, hue = config.rotation, config.hue
    mlp: dict[str, Any] = {"budget": r, "hidden": r.hidden}

    def relative_quats(first: Tensor, second: Tensor) -> Tensor:
        return relative_unitquat(first, second, sign=sign)

    tasks = (
        Task("classification", num_classes, config.classification, _labels, loss=F.cross_entropy),
        Task("rotation", 4, view_targets=_quats, relate=relative_quats, **mlp),
        Task("rotation_absolute", 4, view_targets=_quats, **mlp),
        Task("hue", 2, hue, _hues, _difference, hidden=hue.hidden),
        Task("hue_mlp", 2, view_targets=_hues, relate=_difference, **mlp),
        Task("hue_circular", 4, view_targets=_hues, relate=circular_difference, **mlp),
        Task("light", 3, view_targets=light_directions, **mlp),
        Task("translation_object", 3, view_targets=_translations, relate=_difference, **mlp),
        Task("translation_base", 3, view_targets=base_translations, relate=_difference, **mlp),
        Task("crop", 4, view_targets=_latents(CROP), relate=_difference, **mlp),
        Task("jitter", 4, view_targets=_latents(JITTER), relate=_difference, **mlp),
        Task("blur", 1, hue, _latents(BLUR), _difference, hidden=hue.hidden),
        Task("position", 2, hue, _latents(POSITION), _difference, hidden=hue.hidden),
    )
    return {task.name: task for task in tasks}


# Latents that a protocol needs, beside the classes and rotations that every store holds.
NEEDS: dict[str, tuple[str, ...]] = {
    "hue": HUES, "hue_mlp": HUES, "hue_circular": HUES, "light": LIGHT,
    "translation_object": TRANSLATION, "translation_base": TRANSLATION, **AUGMENTATIONS,
}  # fmt: skip


def why_impossible(task: Task, train: FeatureSet, val: FeatureSet) -> str | None:
    """Why a protocol has no meaning on these views, or None where it has."""
    if task.pair and min(train.num_views, val.num_views) < 2:
        return "it compares two views of an object, and the store holds one"
    if task.name in ("rotation", "rotation_absolute") and val.schema is not None and not val.holds(*ROTATION):
        return "the store's views are not rotated"
    needed = NEEDS.get(task.name, ())
    if needed and not val.holds(*needed):
        return f"the store does not hold the latents {', '.join(needed)}"
    if needed and not any(_varies(side.columns(*needed)) for side in (train, val)):
        return f"{', '.join(needed)} are the same in every view of the store"
    return None


def light_directions(views: FeatureSet) -> Tensor:
    """(N, V, 3) unit vectors towards the spot light, from its polar angle (from +z) and azimuth."""
    theta, phi = views.columns(*LIGHT).unbind(-1)
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)


def base_translations(views: FeatureSet) -> Tensor:
    """(N, V, 3) where the object's centre is in the world: R t, for a translation t in the object's frame."""
    return (unitquat_to_rotmat(views.quats) @ views.columns(*TRANSLATION).unsqueeze(-1)).squeeze(-1)


def circular_difference(first: Tensor, second: Tensor) -> Tensor:
    """(…, 2k) cosines, then sines, of the differences of k hues: the same for a difference and its complement.

    Hue 0.9 to hue 0.1 is a step of 0.2; the plain difference of the published protocol makes it -0.8.
    """
    angle = 2 * pi * (second - first)
    return torch.cat([angle.cos(), angle.sin()], -1)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    return second - first


def _labels(views: FeatureSet) -> Tensor:
    return views.labels[:, None].expand(-1, views.num_views)


def _quats(views: FeatureSet) -> Tensor:
    return views.quats


def _hues(views: FeatureSet) -> Tensor:
    return views.columns(*HUES)


def _latents(names: tuple[str, ...]) -> Callable[[FeatureSet], Tensor]:
    return lambda views: views.columns(*names)


def _translations(views: FeatureSet) -> Tensor:
    return views.columns(*TRANSLATION)


def _varies(values: Tensor) -> bool:
    return bool((values.flatten(0, 1).var(0, correction=0) > 1e-12).any())
