"""Sequences of views made from single images as they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.images.sources import ImageSource, read_images
from equissl.datasets.sampling import mix
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import LatentSchema

Address = tuple[int, int]  # (epoch, index)


class ImageSequences(Dataset, ABC):
    """V views of each image, with the latents that made them. Addressed, and loaded, like stored views.

    Items are addressed by (epoch, index): the same address gives the same views in any order, process and worker.

    Args:
        images: where they come from, or a path, see :func:`read_images`.
        split: ``train``, ``val`` or ``unlabeled``.
        views: V.
        seed: of all that is random.
    """

    items = "images"
    schema: LatentSchema

    def __init__(
        self, images: ImageSource | Path | str, split: str | None = "train", views: int = 2, seed: int = 0
    ) -> None:
        if views < 1:
            raise ValueError(f"expected at least 1 view, got {views}")
        self.split, self.views, self.seed = split or "train", views, seed
        self.store = images if isinstance(images, ImageSource) else read_images(images, self.split)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, address: Address) -> ViewBatch:
        """One item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """The batch of items at ``addresses``, a list of (epoch, index). Images are uint8, nothing turns."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        rows = torch.from_numpy(indices)
        images, latents = self.make_views(self.store.images[rows], epochs, indices)
        batch = len(indices)
        return ViewBatch(
            images=images,
            rotations=torch.eye(3).expand(batch, self.views, 3, 3),
            latents=latents.float(),
            labels=self.store.labels[rows],
            schema=self.schema,
            objects=rows,
            views=torch.arange(self.views).expand(batch, self.views),
        )

    @abstractmethod
    def make_views(self, images: Tensor, epochs: np.ndarray, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Views (B, V, 3, S, S) uint8 and latents (B, V, L) float64 of images (B, 3, H, W)."""

    def draw(self, epochs: np.ndarray, indices: np.ndarray, slots: int) -> Tensor:
        """(B, V, slots) float64, uniform in [0, 1), functions of (seed, epoch, index, view, slot) alone."""
        places = np.arange(self.views)[:, None], np.arange(slots)
        bits = mix(self.seed, epochs[:, None, None], indices[:, None, None], *places)
        return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) / 2**53)
