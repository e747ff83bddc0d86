"""Sequences of views made from single images as they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.images.formats import open_images
from equissl.datasets.images.sources import Images, ImageSource
from equissl.datasets.samplers import Sampler
from equissl.datasets.sampling import mix
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import LatentSchema

Address = tuple[int, int]  # (epoch, index)


@dataclass(frozen=True)
class MadeViews:
    """Views of B images.

    Attributes:
        images: (B, V, 3, S, S) uint8.
        latents: (B, V, L) float64.
        small_crops: (B, C, 3, s, s) uint8, of which no latents are kept.
    """

    images: Tensor
    latents: Tensor
    small_crops: Tensor | None = None


class ImageSequences(Dataset, ABC):
    """V views of each image, with the latents that made them. Addressed, and loaded, like stored views.

    Items are addressed by (epoch, index): the same address gives the same views in any order, process and worker.

    Args:
        images: where they come from, or a path, see :func:`equissl.datasets.images.formats.open_images`.
        split: ``train``, ``val`` or ``unlabeled``.
        views: V.
        seed: of all that is random.
    """

    items = "images"
    schema: LatentSchema
    sampler: Sampler | None = None  # order of an epoch, where it is another than each image once

    def __init__(
        self, images: ImageSource | Path | str, split: str | None = "train", views: int = 2, seed: int = 0
    ) -> None:
        if views < 1:
            raise ValueError(f"expected at least 1 view, got {views}")
        self.split, self.views, self.seed = split or "train", views, seed
        self.store = images if isinstance(images, ImageSource) else open_images(images, self.split)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, address: Address) -> ViewBatch:
        """One item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """The batch of items at ``addresses``, a list of (epoch, index). Images are uint8, nothing turns."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        rows = torch.from_numpy(indices)
        made = self.make_views(self.store.visited(indices, epochs), epochs, indices)
        batch = len(indices)
        return ViewBatch(
            images=made.images,
            rotations=torch.eye(3).expand(batch, self.views, 3, 3),
            latents=made.latents.float(),
            labels=self.store.labels[rows],
            schema=self.schema,
            objects=rows,
            views=torch.arange(self.views).expand(batch, self.views),
            small_crops=made.small_crops,
        )

    def without_images(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses``; the images come along, which their latents are drawn with.

        Args:
            addresses: (epoch, index) of each item.
        """
        return self.__getitems__(addresses)

    @property
    def start_method(self) -> str | None:
        """Start method of loader processes, that of the images."""
        return self.store.start_method

    def image_size(self) -> tuple[int, int]:
        """Height and width of the images; of the first one, where they are not known to be of one size."""
        if self.store.size is not None:
            return self.store.size
        height, width = self.store.read(np.arange(1))[0].shape[1:]
        return height, width

    @abstractmethod
    def make_views(self, images: Images, epochs: np.ndarray, indices: np.ndarray) -> MadeViews:
        """Make the views of B images.

        Args:
            images: (B, 3, H, W) uint8, or B images of several sizes.
            epochs, indices: (B,) addresses.
        """

    def draw(self, epochs: np.ndarray, indices: np.ndarray, slots: int, views: int | None = None) -> Tensor:
        """Draw random numbers that are functions of (seed, epoch, index, view, slot) alone.

        Args:
            epochs, indices: (B,) addresses.
            slots: numbers for each view.
            views: V; those of the data set where None.

        Returns:
            (B, V, slots) float64, uniform in [0, 1).
        """
        places = np.arange(self.views if views is None else views)[:, None], np.arange(slots)
        bits = mix(self.seed, epochs[:, None, None], indices[:, None, None], *places)
        return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) / 2**53)
