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
from torch import Tensor

from equissl.datasets.images import pixels
from equissl.datasets.images.sequences.base import ImageSequences
from equissl.datasets.images.sources import ImageSource
from equissl.datasets.views.schema import augmentation_schema

_TRIES = 10  # boxes drawn before the largest that fits is taken, as torchvision does
_ORDERS = np.array(list(itertools.permutations(range(4))))
_JITTER: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    pixels.brightness, pixels.contrast, pixels.saturation, pixels.hue
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a view is made, in this order.

    Attributes:
        scale: share of the image's area that a crop takes.
        ratio: of its width to its height.
        flip: chance of a mirror image. Like gray, solarise and the order of colour changes, it is no part of an action.
        jitter: chance of colour changes.
        brightness, contrast, saturation, hue: how far they go from 1, 1, 1 and 0.
        gray: chance of no colours.
        blur: chance of a blur.
        sigma: its deviation in pixels.
        solarize: chance of inverting bright pixels.
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


OBSERVED = Recipe()
TARGET = Recipe(blur=0.1, solarize=0.2)


class AugmentationSequences(ImageSequences):
    """V augmented views of each image.

    Args:
        images, split, views, seed: see :class:`ImageSequences`.
        size: side of a view; None keeps the images' height.
        observed: how views are made.
        target: how the last view is made; None: like the others.
    """

    def __init__(
        self,
        images: ImageSource | Path | str,
        split: str | None = "train",
        views: int = 2,
        seed: int = 0,
        size: int | None = None,
        observed: Recipe = OBSERVED,
        target: Recipe | None = TARGET,
    ) -> None:
        super().__init__(images, split, views, seed)
        self.size = self.store.images.shape[2] if size is None else size
        self.recipes = [observed] * views if target is None else [observed] * (views - 1) + [target]
        self.schema = augmentation_schema()

    def make_views(self, images: Tensor, epochs: np.ndarray, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        chances = self.draw(epochs, indices, 12 + 2 * _TRIES)
        made = [augment(images, recipe, chances[:, view], self.size) for view, recipe in enumerate(self.recipes)]
        views, latents = zip(*made, strict=True)
        return torch.stack(views, 1), torch.stack(latents, 1)


def augment(images: Tensor, recipe: Recipe, chances: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One view of each image.

    Args:
        images: (B, 3, H, W) uint8.
        recipe: how.
        chances: (B, 32) float64 uniform in [0, 1): all that is random.
        size: side of the views.

    Returns:
        (B, 3, size, size) uint8, and (B, 9) float64 latents by :func:`augmentation_schema`.
    """
    height, width = images.shape[2:]
    flips, jitters, grays, blurs, solarizes = (
        chances[:, slot] < chance
        for slot, chance in enumerate((recipe.flip, recipe.jitter, recipe.gray, recipe.blur, recipe.solarize))
    )
    boxes = random_boxes(chances[:, 10:], height, width, recipe)
    x = pixels.crop_resize(images.float() / 255, boxes, size)
    x = torch.where(flips.view(-1, 1, 1, 1), x.flip(3), x)
    reach = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue], dtype=torch.float64)
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    factors = torch.where(jitters[:, None], neutral + reach * (2 * chances[:, 5:9] - 1), neutral)
    x = _jitter(x, factors, torch.from_numpy(_ORDERS[(chances[:, 9] * len(_ORDERS)).long().numpy()]), jitters)
    x = torch.where(grays.view(-1, 1, 1, 1), pixels.gray(x).expand_as(x), x)
    low, high = recipe.sigma
    # the chance that decided on the blur, stretched over its own range, is uniform again
    sigma = torch.where(blurs, low + (high - low) * chances[:, 3] / max(recipe.blur, 1e-12), torch.zeros(()).double())
    if blurs.any():
        x[blurs] = pixels.blur(x[blurs], sigma[blurs].float(), blur_kernel(size))
    x = torch.where(solarizes.view(-1, 1, 1, 1), pixels.solarize(x), x)
    shares = boxes.double() / torch.tensor([height, width, height, width])
    return (x * 255).round().to(torch.uint8), torch.cat([shares, factors, sigma[:, None]], 1)


def blur_kernel(size: int) -> int:
    """Pixels of the blur's kernel: 3 for views of 32 pixels, 7 for 64."""
    return max(1, 2 * round((size - 10) / 20) + 1)


def random_boxes(chances: Tensor, height: int, width: int, recipe: Recipe) -> Tensor:
    """(B, 4) top, left, height and width of the first of some random boxes that fits, or of the largest in the middle.

    Args:
        chances: (B, 22) uniform: place, then area and ratio of each box.
    """
    area, ratio = chances[:, 2:].unflatten(1, (-1, 2)).unbind(2)
    (small, large), (tall, wide) = recipe.scale, np.log(recipe.ratio)
    area = (small + (large - small) * area) * height * width
    ratio = torch.exp(tall + (wide - tall) * ratio)
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.float().argmax(1, keepdim=True)  # of equal values the first
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    found = fits.any(1)
    most_h, most_w = _largest(height, width, recipe.ratio)
    h, w = torch.where(found, h, torch.full_like(h, most_h)), torch.where(found, w, torch.full_like(w, most_w))
    top = torch.where(found, (chances[:, 0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (chances[:, 1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], 1).long()


def _largest(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def _jitter(x: Tensor, factors: Tensor, orders: Tensor, chosen: Tensor) -> Tensor:
    """Colour changes (B, 4) of the chosen images, each in its own order."""
    for place, change in itertools.product(range(4), range(4)):
        rows = ((orders[:, place] == change) & chosen).nonzero()[:, 0]
        if len(rows):
            x[rows] = _JITTER[change](x[rows], factors[rows, change].float())
    return x
