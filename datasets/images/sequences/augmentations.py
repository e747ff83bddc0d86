"""Sequences of augmented views of an image, whose actions are the changes of crop, colours and blur.

The protocol of EquiMod (Devillers and Lefort 2022, arXiv 2211.01244) as seq-JEPA uses it (Ghaemi et al. 2025, arXiv
2505.03176). Parameters stay in units of their own: dividing them by their norm over the sequence, as the authors' code
does, lets every action tell of all other views.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from equissl.datasets.images import pixels
from equissl.datasets.images.policies import POLICIES, Policy, Recipe
from equissl.datasets.images.sequences.base import ImageSequences, MadeViews
from equissl.datasets.images.sources import Images, ImageSource
from equissl.datasets.views.schema import augmentation_schema

_TRIES = 10  # boxes drawn before the largest that fits is taken, as torchvision does
_SLOTS = 12 + 2 * _TRIES  # random numbers that a view needs
_ORDERS = np.array(list(itertools.permutations(range(4))))
_JITTER: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue
)  # fmt: skip


@dataclass(frozen=True)
class SmallCrops:
    """Small crops beside the views (multi-crop: Caron et al., SwAV, NeurIPS 2020).

    Attributes:
        count: of each image.
        size: side in pixels.
        scale: share of the image's area.
    """

    count: int
    size: int = 96
    scale: tuple[float, float] = (0.05, 0.14)


class AugmentationSequences(ImageSequences):
    """V augmented views of each image.

    Args:
        images, split, views, seed: see :class:`ImageSequences`.
        size: side of a view; None keeps the images' height.
        policy: how views are made.
        small_crops: further views that are made beside them.
    """

    def __init__(
        self,
        images: ImageSource | Path | str,
        split: str | None = "train",
        views: int = 2,
        seed: int = 0,
        size: int | None = None,
        policy: Policy = POLICIES["seq_jepa"],
        small_crops: SmallCrops | None = None,
    ) -> None:
        super().__init__(images, split, views, seed)
        self.size = self.image_size()[0] if size is None else size
        self.recipes = policy.recipes(views)
        self.crops, self.small_recipe = small_crops, policy.small(small_crops.scale) if small_crops else None
        reaches = zip(*(recipe.reach for recipe in self.recipes), strict=True)
        brightness, contrast, saturation, hue = (max(reach) for reach in reaches)
        sigma = max(recipe.sigma[1] for recipe in self.recipes)
        self.schema = augmentation_schema(brightness, contrast, saturation, hue, sigma)

    def make_views(self, images: Images, epochs: np.ndarray, indices: np.ndarray) -> MadeViews:
        chances = self.draw(epochs, indices, _SLOTS, self.views + (self.crops.count if self.crops else 0))
        made = [augment(images, recipe, chances[:, view], self.size) for view, recipe in enumerate(self.recipes)]
        views, latents = zip(*made, strict=True)
        small = [self._small_crop(images, chances[:, view]) for view in range(self.views, chances.shape[1])]
        return MadeViews(torch.stack(views, 1), torch.stack(latents, 1), torch.stack(small, 1) if small else None)

    def _small_crop(self, images: Images, chances: Tensor) -> Tensor:
        assert self.crops is not None and self.small_recipe is not None
        return augment(images, self.small_recipe, chances, self.crops.size)[0]


def augment(images: Images, recipe: Recipe, chances: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Make one view of each image.

    Args:
        images: (B, 3, H, W) uint8, or B images of several sizes.
        recipe: how.
        chances: (B, 32) float64 uniform in [0, 1): all that is random.
        size: side of the views.

    Returns:
        (B, 3, size, size) uint8, and (B, 9) float64 latents by :func:`augmentation_schema`.
    """
    sides = torch.tensor([image.shape[1:] for image in images])
    flips, jitters, grays, blurs, solarizes = (
        chances[:, slot] < chance
        for slot, chance in enumerate((recipe.flip, recipe.jitter, recipe.gray, recipe.blur, recipe.solarize))
    )
    boxes = random_boxes(chances[:, 10:], sides, recipe)
    x = pixels.crop_resize(images, boxes, size)
    x = torch.where(flips.view(-1, 1, 1, 1), x.flip(3), x)
    factors = _factors(recipe, jitters, chances[:, 5:9])
    x = _jitter(x, factors, torch.from_numpy(_ORDERS[(chances[:, 9] * len(_ORDERS)).long().numpy()]), jitters)
    x = torch.where(grays.view(-1, 1, 1, 1), pixels.gray(x).expand_as(x), x)
    low, high = recipe.sigma
    # the chance that decided on the blur, stretched over its own range, is uniform again
    sigma = torch.where(blurs, low + (high - low) * chances[:, 3] / max(recipe.blur, 1e-12), torch.zeros(()).double())
    if blurs.any():
        x[blurs] = pixels.blur(x[blurs], sigma[blurs].float(), blur_kernel(size))
    x = torch.where(solarizes.view(-1, 1, 1, 1), pixels.solarize(x), x)
    shares = boxes.double() / sides.repeat(1, 2)
    return (x * 255).round().to(torch.uint8), torch.cat([shares, factors, sigma[:, None]], 1)


def blur_kernel(size: int) -> int:
    """Pixels of the blur's kernel: 3 for views of 32 pixels, 7 for 64, 23 for 224."""
    return max(1, 2 * round((size - 10) / 20) + 1)


def random_boxes(chances: Tensor, sides: Tensor, recipe: Recipe) -> Tensor:
    """(B, 4) top, left, height and width of the first of some random boxes that fits, or of the largest in the middle.

    Args:
        chances: (B, 22) uniform: place, then area and ratio of each box.
        sides: (B, 2) height and width of the images.
        recipe: with the ranges of area and ratio.
    """
    area, ratio = chances[:, 2:].unflatten(1, (-1, 2)).unbind(2)
    (small, large), (tall, wide) = recipe.scale, np.log(recipe.ratio)
    height, width = sides.double().unbind(1)
    area = (small + (large - small) * area) * (height * width)[:, None]
    ratio = torch.exp(tall + (wide - tall) * ratio)
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w > 0) & (w <= width[:, None]) & (h > 0) & (h <= height[:, None])
    first = fits.float().argmax(1, keepdim=True)  # of equal values the first
    h, w = h.gather(1, first)[:, 0], w.gather(1, first)[:, 0]
    top, left = _starts(chances[:, 0], h, height, recipe), _starts(chances[:, 1], w, width, recipe)
    found = torch.stack([top, left, h, w], 1).long()
    return torch.where(fits.any(1, keepdim=True), found, largest_boxes(sides, recipe.ratio))


def _starts(chances: Tensor, length: Tensor, side: Tensor, recipe: Recipe) -> Tensor:
    """First pixel (B,) of boxes of a length along a side, uniform or about a centre in the middle of the image."""
    if recipe.centre is None:
        return (chances * (side - length + 1)).floor()
    low, high = recipe.middle
    share = torch.from_numpy(betaincinv(recipe.centre, recipe.centre, chances.numpy()))
    start = ((low + (high - low) * share) * side - length / 2).round()
    return torch.minimum(start.clamp_min(0), side - length)


def largest_boxes(sides: Tensor, ratio: tuple[float, float]) -> Tensor:
    """(B, 4) top, left, height and width of the largest box of an allowed ratio in the middle of each image.

    Args:
        sides: (B, 2) height and width of the images.
        ratio: bounds of width over height.
    """
    height, width = sides.double().unbind(1)
    h = torch.minimum(height, (width / ratio[0]).round().clamp_min(1))
    w = torch.minimum(width, (height * ratio[1]).round().clamp_min(1))
    return torch.stack([((height - h) / 2).floor(), ((width - w) / 2).floor(), h, w], 1).long()


def _factors(recipe: Recipe, jitters: Tensor, chances: Tensor) -> Tensor:
    """(B, 4) brightness, contrast, saturation and hue; neutral where the colours are not changed."""
    reach = torch.tensor(recipe.reach, dtype=torch.float64)
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    lowest = torch.tensor([0.0, 0.0, 0.0, -0.5], dtype=torch.float64)  # a reach above 1 starts from 0
    low = torch.maximum(neutral - reach, lowest)
    drawn = low + (neutral + reach - low) * chances
    return torch.where(jitters[:, None], drawn, neutral)


def _jitter(x: Tensor, factors: Tensor, orders: Tensor, chosen: Tensor) -> Tensor:
    """Colour changes (B, 4) of the chosen images, each in its own order."""
    for place, change in itertools.product(range(4), range(4)):
        rows = ((orders[:, place] == change) & chosen).nonzero()[:, 0]
        if len(rows):
            x[rows] = _JITTER[change](x[rows], factors[rows, change].float())
    return x
