"""MNIST and its relatives: IDX files, plain or gzipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from equissl.datasets.images.formats.base import ImageFormat
from equissl.datasets.images.formats.names import class_names
from equissl.datasets.images.idx import IdxError, find_idx_pairs, read_idx_pair
from equissl.datasets.images.sources import ImagesError, ImageSource, StoredImages

_HOMES = ("", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")


class Mnist(ImageFormat):
    """Gray images; ``train-images…`` and ``t10k-images…`` are the splits, either alone is not divided."""

    name = "mnist"
    layout = "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-…"

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(_pairs(root))

    def read(self, root: Path, split: str) -> ImageSource:
        image_file, label_file = _pairs(root)[split]
        try:
            images, labels = read_idx_pair(image_file, label_file)
        except IdxError as error:
            raise ImagesError(str(error)) from error
        classes = torch.from_numpy(labels.astype(np.int64))
        digits = [str(i) for i in range(10)]
        return StoredImages(
            torch.from_numpy(images.copy())[:, None], classes, class_names(digits, classes), image_file.parent
        )


def _pairs(root: Path) -> dict[str, tuple[Path, Path]]:
    """Files of images and labels by split."""
    for home in _HOMES:
        try:
            found = find_idx_pairs(root / home)
        except FileNotFoundError:
            continue
        if len(found) == 1:
            return {"train": next(iter(found.values()))}
        return {"train" if name.endswith("train") else "val": files for name, files in found.items()}
    return {}
