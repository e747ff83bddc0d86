"""Built-in probe protocols: target, number of views and head of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.views import attributes
from equissl.datasets.views.attributes import LIGHT
from equissl.datasets.views.bias import find_bands
from equissl.datasets.views.schema import BLUR, CROP, JITTER, POSITION, ROTATION, TRANSLATION
from equissl.evaluation.views import scores
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scoring import Classes, Groups, Regression, Rotations
from equissl.evaluation.views.tasks import ProbeSetting, Task
from equissl.geometry import relative_unitquat, unitquat_to_rotmat

HUES = ("floor_hue", "light_hue")


def classification(setting: ProbeSetting) -> Task:
    """Class of the object, one view, a linear head."""
    count = setting.num_classes
    budget = setting.config.classification
    return Task("classification", count, budget, _labels, loss=F.cross_entropy, scoring=Classes(count))


def worst_group(setting: ProbeSetting) -> Task:
    """Class of the object as in `classification`, by groups of class and of a hue that is, or is not, in its band."""
    count, latent = setting.num_classes, setting.config.group

    def known(views: FeatureSet) -> Tensor:
        band = find_bands(views.columns(latent)[..., 0], count).long()
        return torch.stack([_labels(views), band], dim=-1)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target[:, 0])

    how: dict[str, Any] = {"scoring": Groups(count), "needs": (latent,), "on_request": True}
    return Task("worst_group", count, setting.config.classification, known, loss=loss, **how)


def rotation(setting: ProbeSetting) -> Task:
    """Relative quaternion of two views."""
    relate = partial(relative_unitquat, sign=setting.sign)
    return _mlp(setting, "rotation", 4, _quats, relate, scoring=Rotations(), obstacle=_unrotated)


def rotation_absolute(setting: ProbeSetting) -> Task:
    """Quaternion of one view."""
    return _mlp(setting, "rotation_absolute", 4, _quats, scoring=Rotations(), obstacle=_unrotated)


def hue(setting: ProbeSetting) -> Task:
    """Differences of floor and light hue of two views; EquiCaps' and seq-JEPA's linear head."""
    return _linear(setting, "hue", HUES, scores.HUE_STEPS)


def hue_mlp(setting: ProbeSetting) -> Task:
    """Differences of hue as in `hue`, with SIE's head."""
    how = Regression(scores.HUE_STEPS)
    return _mlp(setting, "hue_mlp", 2, _latents(HUES), _difference, scoring=how, needs=HUES, on_request=True)


def hue_circular(setting: ProbeSetting) -> Task:
    """Differences of hue as points on the hue circle."""
    how = Regression(scores.HUE_POINTS)
    return _mlp(setting, "hue_circular", 4, _latents(HUES), circular_difference, scoring=how, needs=HUES)


def light(setting: ProbeSetting) -> Task:
    """Direction of the spot light, one view."""
    return _mlp(setting, "light", 3, light_directions, scoring=Regression(scores.DIRECTION), needs=LIGHT)


def translation_object(setting: ProbeSetting) -> Task:
    """Difference of the translations of two views, in the object's frame."""
    return _mlp(setting, "translation_object", 3, _latents(TRANSLATION), _difference, needs=TRANSLATION)


def translation_base(setting: ProbeSetting) -> Task:
    """Difference of the places of the object in the world."""
    return _mlp(setting, "translation_base", 3, base_translations, _difference, needs=TRANSLATION)


def crop(setting: ProbeSetting) -> Task:
    """Differences of the crop boxes of two augmentations, in sides of the image."""
    return _augmentation(setting, "crop", CROP, "sides")


def jitter(setting: ProbeSetting) -> Task:
    """Differences of the factors of colour jitter."""
    return _augmentation(setting, "jitter", JITTER, "factors")


def blur(setting: ProbeSetting) -> Task:
    """Difference of the deviations of the blur, in pixels."""
    return _linear(setting, "blur", BLUR, scores.Measure("pixels", scores.distances), usual=False)


def position(setting: ProbeSetting) -> Task:
    """Difference of the places of two fixations, in sides of the image."""
    return _linear(setting, "position", POSITION, scores.Measure("sides", scores.distances), usual=False)


def light_directions(views: FeatureSet) -> Tensor:
    """Compute unit vectors (N, V, 3) towards the spot light, from its polar angle (from +z) and azimuth."""
    return attributes.light_directions(views.columns(*LIGHT))


def base_translations(views: FeatureSet) -> Tensor:
    """Compute the centre (N, V, 3) of the object in the world: R t, for a translation t in the object's frame."""
    return (unitquat_to_rotmat(views.quats) @ views.columns(*TRANSLATION).unsqueeze(-1)).squeeze(-1)


def circular_difference(first: Tensor, second: Tensor) -> Tensor:
    """Compute (…, 2k) cosines, then sines, of the differences of k hues: equal for a difference and its complement.

    Hue 0.9 to hue 0.1 is a step of 0.2; the plain difference of the published protocol makes it -0.8.

    Args:
        first: (…, k) hues in turns.
        second: (…, k) hues in turns.
    """
    angle = 2 * pi * (second - first)
    return torch.cat([angle.cos(), angle.sin()], -1)


def _mlp(
    setting: ProbeSetting,
    name: str,
    out_dim: int,
    known: Callable[[FeatureSet], Tensor],
    relate: Callable[[Tensor, Tensor], Tensor] | None = None,
    **more: Any,
) -> Task:
    """A protocol with the head and budget of SIE's rotation probe."""
    budget = setting.config.rotation
    return Task(name, out_dim, budget, known, relate, hidden=budget.hidden, **more)


def _linear(setting: ProbeSetting, name: str, latents: tuple[str, ...], measure: scores.Measure, **more: Any) -> Task:
    """Differences of latents of two views, with the head and budget of EquiCaps' hue probe."""
    budget, how = setting.config.hue, Regression(measure)
    known, hidden = _latents(latents), budget.hidden
    return Task(name, len(latents), budget, known, _difference, hidden=hidden, scoring=how, needs=latents, **more)


def _augmentation(setting: ProbeSetting, name: str, latents: tuple[str, ...], unit: str) -> Task:
    how = Regression(scores.Measure(unit, scores.distances))
    known = _latents(latents)
    return _mlp(setting, name, len(latents), known, _difference, scoring=how, needs=latents, usual=False)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    return second - first


def _labels(views: FeatureSet) -> Tensor:
    return views.labels[:, None].expand(-1, views.num_views)


def _quats(views: FeatureSet) -> Tensor:
    return views.quats


def _latents(names: tuple[str, ...]) -> Callable[[FeatureSet], Tensor]:
    return lambda views: views.columns(*names)


def _unrotated(views: FeatureSet) -> str | None:
    known = views.schema is None or views.holds(*ROTATION)
    return None if known else "the store's views are not rotated"
