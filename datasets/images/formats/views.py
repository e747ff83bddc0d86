"""View stores as images: each stored view is one image of the class of its object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.hdf5 import declared_format
from equissl.datasets.images.formats.base import ImageFormat
from equissl.datasets.images.sources import ImageSource
from equissl.datasets.splits import SPLITS
from equissl.datasets.views.store.format import FORMAT
from equissl.datasets.views.store.store import ViewStore


class ViewImages(ImageSource):
    """Views of some objects of a store, object by object.

    Args:
        store: of the views.
        objects: (N,) indices of objects.
    """

    def __init__(self, store: ViewStore, objects: np.ndarray) -> None:
        labels = torch.from_numpy(store.labels[objects]).repeat_interleave(store.num_views)
        super().__init__(labels, store.classes, store.path)
        self.store, self.size = store, (store.image_size, store.image_size)
        self.rows = (objects[:, None] * store.num_views + np.arange(store.num_views)).ravel()

    def read(self, rows: np.ndarray) -> Tensor:
        return self.store.read_images(self.rows[rows])


class StoredViews(ImageFormat):
    """A file that `equissl render` writes, or an index of several; its objects are divided."""

    name = "views"
    layout = "a view store (.h5)"

    def splits(self, root: Path) -> tuple[str, ...]:
        if declared_format(root) != FORMAT:
            return ()
        held = ViewStore(root).split
        return tuple(name for name, number in SPLITS.items() if (held == number).any())

    def read(self, root: Path, split: str) -> ImageSource:
        store = ViewStore(root)
        return ViewImages(store, store.select(split))
