"""Augmentation policies by name, with the values that their papers publish.

A policy says how the views of an image are drawn; `equissl.datasets.images.sequences.augmentations` draws them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from equissl.util.registry import Registry, did_you_mean

# of the strength that the smallest crop's logarithm goes with: 0.08 becomes 0.2 at one half
_CROP_POWER = math.log2(math.log(0.08) / math.log(0.2))
LAST = "last"  # option that holds options of the last view alone


@dataclass(frozen=True)
class Recipe:
    """The random changes that make one view of an image, in this order.

    Attributes:
        scale: share of the image's area that a crop takes.
        ratio: of its width to its height.
        flip: chance of a mirror image. Like gray, solarise and the order of colour changes, it is no part of an action.
        jitter: chance of colour changes.
        brightness, contrast, saturation, hue: how far they go from 1, 1, 1 and 0.
        gray: chance of no colours.
        blur: chance of a blur; its kernel is about a tenth of the view wide.
        sigma: its deviation in pixels.
        solarize: chance of inverting bright pixels.
        centre: shape α of Beta(α, α), which places the crop's centre along both sides of the ``middle``; below 1 it
            suppresses the centre, so that two crops tend to lie far apart. None: uniform wherever the crop fits.
        middle: first and last place that the centre may have, as shares of a side; a crop that would reach over the
            border is moved inside.

    Raises:
        ValueError: chances outside [0, 1], ranges that are not in order, or colour changes out of range.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    gray: float = 0.2
    blur: float = 1.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    centre: float | None = None
    middle: tuple[float, float] = (0.25, 0.75)

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "gray", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected a chance of {name} in [0, 1], got {getattr(self, name)}")
        for name in ("scale", "ratio", "sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise ValueError(f"expected {name} as a lower and an upper bound above 0, got {low} and {high}")
        if self.centre is not None and not self.centre > 0:
            raise ValueError(f"expected a centre above 0, or None, got {self.centre}")
        if not 0 <= self.middle[0] <= self.middle[1] <= 1:
            raise ValueError(f"expected middle as a lower and an upper bound in [0, 1], got {self.middle}")
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            raise ValueError(f"expected colour changes of at least 0, and hue of at most 0.5, got {self}")

    def scaled(self, strength: float) -> Recipe:
        """The recipe with weaker or stronger crops and colour changes.

        AdaInf (Wang et al. 2024) publishes two points for SimCLR: its recipe, and a weak one with crops from 20 % in
        place of 8 % of the area and half the chance and the reach of colour changes. The scale through them is ours:
        chance and reach grow with the strength, and the smallest crop a becomes ``a ** strength ** 0.65``, which is 0.2
        for 0.08 at one half. Its weak recipe of BYOL and Barlow Twins keeps the reach: name that by ``policy_options``.

        Args:
            strength: 1 keeps the recipe, 0 leaves the largest crop of each ratio and no colour changes; above 1 chances
                and the reach of hue end at their largest values.

        Raises:
            ValueError: a strength below 0.
        """
        if not 0 <= strength < float("inf"):
            raise ValueError(f"expected a strength of augmentation of at least 0, got {strength}")
        if strength == 1:
            return self
        small, large = self.scale
        reach = {name: strength * getattr(self, name) for name in ("brightness", "contrast", "saturation")}
        return replace(
            self,
            scale=(min(large, small ** (strength**_CROP_POWER)), large),
            jitter=min(1.0, strength * self.jitter),
            hue=min(0.5, strength * self.hue),
            **reach,
        )

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Ranges of brightness, contrast, saturation and hue."""
        return self.brightness, self.contrast, self.saturation, self.hue


@dataclass(frozen=True)
class Policy:
    """Recipe of each view of an image.

    Attributes:
        recipe: of the views, and of small crops.
        last: of the last view; None: like the others.
    """

    recipe: Recipe
    last: Recipe | None = None

    def recipes(self, views: int) -> list[Recipe]:
        """The recipe of each of so many views."""
        return [self.recipe] * (views - 1) + [self.last or self.recipe]

    def small(self, scale: tuple[float, float]) -> Recipe:
        """The recipe of small crops, which take so much of the image's area."""
        return replace(self.recipe, scale=scale)

    def scaled(self, strength: float) -> Policy:
        """The policy with every recipe scaled, see `Recipe.scaled`."""
        return Policy(self.recipe.scaled(strength), self.last and self.last.scaled(strength))

    def altered(self, options: Mapping[str, Any]) -> Policy:
        """The policy with other values.

        Args:
            options: fields of `Recipe`, for all views; and ``last``, such fields for the last view alone, or None to
                make it like the others.

        Raises:
            ValueError: an unknown field (the message holds the nearest one), or a value out of range.
        """
        common = {name: value for name, value in options.items() if name != LAST}
        recipe, last = _altered(self.recipe, common), self.last and _altered(self.last, common)
        if LAST in options:
            last = None if options[LAST] is None else _altered(last or recipe, options[LAST])
        return Policy(recipe, last)


def _altered(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    known = [field.name for field in fields(Recipe)]
    for name in options:
        if name not in known:
            raise ValueError(f"unknown option {name!r} of a policy{did_you_mean(name, known)}; expected {known}")
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, Sequence) else v for k, v in options.items()}
    try:
        return replace(recipe, **plain)
    except TypeError as error:
        raise ValueError(f"options {dict(options)} of a policy: {error}") from error


# SimCLR, Chen et al. 2020 (arXiv 2002.05709): appendix A, colour strength 1; and for CIFAR-10 appendix B.9, colour
# strength 1/2, without blur.
SIMCLR = Recipe((0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5)
SIMCLR_CIFAR = Recipe((0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.0)

# BYOL, Grill et al. 2020 (arXiv 2006.07733), appendix B; the same in Barlow Twins (arXiv 2103.03230) and VICReg (arXiv
# 2105.04906): the second view is rarely blurred and sometimes solarised. Without blur on CIFAR, as SimCLR.
BYOL = Recipe((0.08, 1.0), blur=1.0)
BYOL_LAST = Recipe((0.08, 1.0), blur=0.1, solarize=0.2)

# SwAV, Caron et al. 2020 (arXiv 2006.09882): SimCLR's colours, large crops of at least 14 % of the area; the method
# says how many small crops there are beside them and of which share (0.05, 0.14).
SWAV = replace(SIMCLR, scale=(0.14, 1.0))

# Hallucinator, Wu et al. 2023: centre-suppressed crops, with α = 0.1 on CIFAR and 0.6 on ImageNet. The box of the
# centres is 0.25 to 0.75, or 0.2 to 0.8; which of them goes with which data set is not known, nor are the colours: here
# SimCLR's.
CENTRE_SUPPRESSED = replace(SIMCLR, centre=0.6)
CENTRE_SUPPRESSED_CIFAR = replace(SIMCLR_CIFAR, centre=0.1)

# seq-JEPA, Ghaemi et al. 2025 (arXiv 2505.03176), after EquiMod (arXiv 2211.01244): all but the last are observed.
OBSERVED = Recipe()
TARGET = Recipe(blur=0.1, solarize=0.2)

# OBoW, Gidaris et al. 2021 (arXiv 2012.11552): crops from 8 to 60 % of the area; the last view, the teacher's, is the
# whole image or its mirror image.
OBOW = Recipe((0.08, 0.6), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.5)

# The whole image, or the largest square in its middle.
PLAIN = Recipe((1.0, 1.0), (1.0, 1.0), flip=0.0, jitter=0.0, gray=0.0, blur=0.0)

POLICIES: Registry[Policy] = Registry(
    "augmentation policy",
    {
        "simclr": Policy(SIMCLR),
        "simclr_cifar": Policy(SIMCLR_CIFAR),
        "asymmetric": Policy(BYOL, BYOL_LAST),
        "asymmetric_cifar": Policy(replace(BYOL, blur=0.0), replace(BYOL_LAST, blur=0.0)),
        "centre_suppressed": Policy(CENTRE_SUPPRESSED),
        "centre_suppressed_cifar": Policy(CENTRE_SUPPRESSED_CIFAR),
        "multi_crop": Policy(SWAV),
        "multi_crop_cifar": Policy(replace(SIMCLR_CIFAR, scale=(0.14, 1.0))),
        "seq_jepa": Policy(OBSERVED, TARGET),
        "obow": Policy(OBOW, replace(PLAIN, flip=0.5)),
        "obow_cifar": Policy(replace(OBOW, blur=0.0), replace(PLAIN, flip=0.5)),
        "none": Policy(PLAIN),
    },
    group="equissl.augmentation_policies",
    base=Policy,
)
