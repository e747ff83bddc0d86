"""Sequences of fixations on an image, whose actions are the eye's movements: predictive learning across saccades.

seq-JEPA, Ghaemi et al. 2025 (arXiv 2505.03176). A fixation at row r and column c shows what is around that place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.datasets.images.sequences.base import ImageSequences, MadeViews
from equissl.datasets.images.sequences.saliency import Saliency, get_saliency
from equissl.datasets.images.sources import Images, ImagesError, ImageSource
from equissl.datasets.views.schema import saccade_schema

_LEFT = 1e-16  # of a place that has been looked at, so that something is left when all has been


class SaccadeSequences(ImageSequences):
    """Patches around V fixations of each image.

    Args:
        images, split, views, seed: see :class:`ImageSequences`.
        patch: side of a patch in pixels.
        saliency: a provider, or ``spectral_residual``, ``centre``, ``uniform`` or a ``.npy`` file of maps.
        inhibition: pixels around a fixation that are not fixated again; 0 turns inhibition of return off.
        inhibited: ``disc`` (the paper's) or ``square`` (the authors' code).
        border: ``pad`` lets patches reach over the image's border, where they are black, as published; ``inside`` keeps
            fixations away from it.

    Raises:
        ValueError: for a patch that does not fit into the image with ``inside``, or an unknown choice.
    """

    def __init__(
        self,
        images: ImageSource | Path | str,
        split: str | None = "train",
        views: int = 5,
        seed: int = 0,
        patch: int = 32,
        saliency: Saliency | str = "spectral_residual",
        inhibition: float = 16,
        inhibited: Literal["disc", "square"] = "disc",
        border: Literal["pad", "inside"] = "pad",
    ) -> None:
        super().__init__(images, split, views, seed)
        if inhibited not in ("disc", "square") or border not in ("pad", "inside"):
            raise ValueError(
                f"expected inhibited disc or square and border pad or inside, got {inhibited!r} and {border!r}"
            )
        if border == "inside" and patch > min(self.image_size()):
            height, width = self.image_size()
            raise ValueError(f"expected a patch inside images of {height} x {width}, got {patch}")
        self.patch, self.inhibition, self.inhibited, self.border = patch, inhibition, inhibited, border
        self.saliency = get_saliency(saliency) if isinstance(saliency, str) else saliency
        self.schema = saccade_schema()

    def make_views(self, images: Images, epochs: np.ndarray, indices: np.ndarray) -> MadeViews:
        if not isinstance(images, Tensor):
            raise ImagesError(f"{self.store.path}: saccades need images of one size")
        maps = self.saliency(images, indices)
        if self.border == "inside":
            maps = maps * _margin(maps, self.patch)
        places = fixate(maps, self.draw(epochs, indices, 1)[..., 0], self.inhibition, self.inhibited)
        sides = torch.tensor(images.shape[2:], dtype=torch.float64)
        return MadeViews(cut_patches(images, places, self.patch), places.double() / sides)


def fixate(maps: Tensor, chances: Tensor, inhibition: float = 16, inhibited: str = "disc") -> Tensor:
    """Fixations drawn one after the other.

    Args:
        maps: (B, H, W) saliency, not negative.
        chances: (B, V) uniform in [0, 1).
        inhibition: reach in pixels of what a fixation forbids to the later ones; 0 for none.
        inhibited: its shape.

    Returns:
        (B, V, 2) int64 row and column of each fixation.
    """
    height, width = maps.shape[1:]
    rows, columns = (torch.arange(side) for side in (height, width))
    left, found = maps.double().clone(), []
    for view in range(chances.shape[1]):
        total = left.flatten(1).cumsum(1)
        wanted = chances[:, view : view + 1] * total[:, -1:]
        place = torch.searchsorted(total, wanted, right=True)[:, 0].clamp_max(height * width - 1)
        row, column = place // width, place % width
        found.append(torch.stack([row, column], 1))
        if inhibition > 0:
            near = _reach((rows - row[:, None])[:, :, None], (columns - column[:, None])[:, None], inhibited)
            left = torch.where(near <= inhibition, torch.zeros(()).double(), left) + _LEFT
            left = left / left.sum((1, 2), keepdim=True)
    return torch.stack(found, 1)


def cut_patches(images: Tensor, places: Tensor, size: int) -> Tensor:
    """Pixels around places; the place itself is at row and column ``size // 2``. Black outside the image.

    Args:
        images: (B, 3, H, W).
        places: (B, V, 2) rows and columns.
        size: side of a patch.

    Returns:
        (B, V, 3, size, size).
    """
    before = size // 2
    wide = F.pad(images, (before, size - before, before, size - before))
    steps = torch.arange(size)
    row = places[..., 0, None] + steps  # (B, V, size) in the padded image
    column = places[..., 1, None] + steps
    item = torch.arange(len(images)).view(-1, 1, 1, 1)
    cut = wide.permute(0, 2, 3, 1)[item, row[..., :, None], column[..., None, :]]
    return cut.permute(0, 1, 4, 2, 3)


def _reach(down: Tensor, across: Tensor, shape: str) -> Tensor:
    """(B, H, W) distance from the fixation in the sense of the shape."""
    if shape == "square":
        return torch.maximum(down.abs(), across.abs())
    return (down.square() + across.square()).sqrt()


def _margin(maps: Tensor, size: int) -> Tensor:
    """(H, W) 1 where a patch lies inside the image."""
    height, width = maps.shape[1:]
    before, after = size // 2, size - size // 2
    inside = torch.zeros(height, width, dtype=torch.float64)
    inside[before : height - after + 1, before : width - after + 1] = 1
    return inside
