"""CIFAR-10 and CIFAR-100, Krizhevsky 2009: the binary files and the pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from equissl.datasets.images.formats.base import ImageFormat, find_home
from equissl.datasets.images.formats.names import class_names
from equissl.datasets.images.formats.plain_pickle import read_plain_pickle
from equissl.datasets.images.sources import ImagesError, ImageSource, StoredImages

SIDE = 32
PIXELS = 3 * SIDE * SIDE


class Cifar(ImageFormat):
    """Files of 32 × 32 pixels, binary or pickled.

    Attributes:
        files: names by split, without the suffix ``.bin`` that the binary ones have.
        label_bytes: bytes of a binary record before its pixels; the last of them is the class.
        label_key: of the classes in a pickle.
        names: file of the classes' names, one a line.
        pickled_names: file of the same, and its key.
        homes: folders in which the downloads are unpacked.
    """

    files: dict[str, tuple[str, ...]]
    label_bytes: int
    label_key: bytes
    names: str
    pickled_names: tuple[str, bytes]
    homes: tuple[str, ...]

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(split for split in self.files if self._home(root, split) is not None)

    def read(self, root: Path, split: str) -> ImageSource:
        home = self._home(root, split)
        assert home is not None
        binary = (home / f"{self.files[split][0]}.bin").is_file()
        files = [home / (f"{name}.bin" if binary else name) for name in self.files[split]]
        if missing := [file.name for file in files if not file.is_file()]:
            raise ImagesError(f"expected {missing[0]} beside {files[0].name}, found none in {home}")
        parts = [self._read_binary(file) if binary else self._read_pickled(file) for file in files]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        classes = torch.from_numpy(labels.astype(np.int64))
        names = class_names(self._known_names(home, binary), classes)
        return StoredImages(torch.from_numpy(images.reshape(-1, 3, SIDE, SIDE)), classes, names, home)

    def _home(self, root: Path, split: str) -> Path | None:
        first = self.files[split][0]
        return find_home(root, self.homes, (f"{first}.bin", first))

    def _read_binary(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3072) pixels and (n,) classes."""
        record, data = self.label_bytes + PIXELS, np.fromfile(file, np.uint8)
        if not data.size or data.size % record:
            raise ImagesError(f"{file}: expected records of {record} bytes, found {data.size} bytes in all")
        rows = data.reshape(-1, record)
        return np.ascontiguousarray(rows[:, self.label_bytes :]), rows[:, self.label_bytes - 1]

    def _read_pickled(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3072) pixels and (n,) classes."""
        tree = read_plain_pickle(file)
        images, labels = tree.get(b"data"), np.asarray(tree.get(self.label_key, ()), np.int64)
        if not isinstance(images, np.ndarray) or images.shape != (len(labels), PIXELS):
            got = getattr(images, "shape", type(images).__name__)
            raise ImagesError(f"{file}: expected data ({len(labels)}, {PIXELS}) for its labels, got {got}")
        return images, labels

    def _known_names(self, home: Path, binary: bool) -> list[str]:
        file = home / (self.names if binary else self.pickled_names[0])
        if not file.is_file():
            return []
        if binary:
            return file.read_text(encoding="utf-8").split()
        return [_text(name) for name in read_plain_pickle(file).get(self.pickled_names[1], ())]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


class Cifar10(Cifar):
    """CIFAR-10: five files of 10,000 images, and one for validation."""

    name = "cifar10"
    layout = "data_batch_1.bin … test_batch.bin, or data_batch_1 … test_batch"
    files = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "val": ("test_batch",)}  # noqa: RUF012
    label_bytes, label_key = 1, b"labels"
    names, pickled_names = "batches.meta.txt", ("batches.meta", b"label_names")
    homes = ("cifar-10-batches-bin", "cifar-10-batches-py")


class Cifar100(Cifar):
    """CIFAR-100 with its fine labels."""

    name = "cifar100"
    layout = "train.bin and test.bin, or train and test"
    files = {"train": ("train",), "val": ("test",)}  # noqa: RUF012
    label_bytes, label_key = 2, b"fine_labels"
    names, pickled_names = "fine_label_names.txt", ("meta", b"fine_label_names")
    homes = ("cifar-100-binary", "cifar-100-python")
