"""STL-10, Coates et al. 2011: the binary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.formats.base import ImageFormat, find_home
from equissl.datasets.images.formats.names import class_names
from equissl.datasets.images.sources import UNLABELLED, ImagesError, ImageSource, StoredImages

SIDE = 96
_FILES = {"train": "train", "val": "test", "unlabeled": "unlabeled"}


class Stl10(ImageFormat):
    """Images of 96 × 96 pixels, column by column, mapped into memory; the 100,000 unlabelled ones are a split."""

    name = "stl10"
    layout = "train_X.bin, train_y.bin, test_X.bin, test_y.bin, unlabeled_X.bin"

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(split for split, name in _FILES.items() if _home(root, name) is not None)

    def read(self, root: Path, split: str) -> ImageSource:
        home, name = _home(root, _FILES[split]), _FILES[split]
        assert home is not None
        images = _pixels(home / f"{name}_X.bin")
        if split == "unlabeled":
            return StoredImages(images, torch.full((len(images),), UNLABELLED), (), home)
        file = home / f"{name}_y.bin"
        if not file.is_file():
            raise ImagesError(f"expected {file.name} beside {name}_X.bin, found none in {home}")
        labels = torch.from_numpy(np.fromfile(file, np.uint8).astype(np.int64) - 1)  # from 1 in the file
        if len(labels) != len(images):
            raise ImagesError(f"{home}: expected a label for each of {len(images)} images, found {len(labels)}")
        names = home / "class_names.txt"
        known = names.read_text(encoding="utf-8").split() if names.is_file() else ()
        return StoredImages(images, labels, class_names(known, labels), home)


def _home(root: Path, name: str) -> Path | None:
    return find_home(root, ("stl10_binary",), (f"{name}_X.bin",))


def _pixels(file: Path) -> Tensor:
    """(N, 3, 96, 96)."""
    size = file.stat().st_size
    if not size or size % (3 * SIDE * SIDE):
        raise ImagesError(f"{file}: expected images of {3 * SIDE * SIDE} bytes, found {size} bytes in all")
    data = np.memmap(file, np.uint8, "c")
    return torch.from_numpy(data.reshape(-1, 3, SIDE, SIDE)).transpose(2, 3)
