"""Labelled images to make sequences of views from: a folder, or the binary files of CIFAR and STL-10."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

SUFFIXES = (".jpg", ".jpeg", ".png")
_FOLDERS = {"train": ("train",), "val": ("val", "test")}
_CIFAR10 = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "val": ["test_batch.bin"]}
_CIFAR100 = {"train": ["train.bin"], "val": ["test.bin"]}
_STL10 = {"train": "train", "val": "test", "unlabeled": "unlabeled"}


class ImagesError(ValueError):
    """Images that cannot be read; the message says what was expected and what came."""


@dataclass(frozen=True)
class ImageSource:
    """Images of one size in memory, or mapped into it.

    Attributes:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        classes: names.
        path: where they come from.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    path: Path

    def __len__(self) -> int:
        return len(self.images)


def read_images(root: Path | str, split: str = "train") -> ImageSource:
    """All images of a split, in the order of their names or of the files.

    Args:
        root: ``ROOT/{train,val or test}/CLASS/*.{jpg,jpeg,png}``, or a folder with CIFAR-10's, CIFAR-100's or STL-10's
            binary files.
        split: ``train``, ``val``, or STL-10's ``unlabeled``, whose images are of one class of that name.

    Raises:
        ImagesError: nothing of that kind, images of several sizes, or files cut short.
    """
    root = Path(root)
    for names, skip, folder in ((_CIFAR10, 1, "batches.meta.txt"), (_CIFAR100, 2, "fine_label_names.txt")):
        if split in names and (root / names[split][0]).is_file():
            return _read_cifar([root / name for name in names[split]], skip, root / folder)
    if split in _STL10 and (root / f"{_STL10[split]}_X.bin").is_file():
        return _read_stl10(root, _STL10[split])
    for name in _FOLDERS.get(split, ()):
        if (root / name).is_dir():
            return _read_folder(root / name)
    folders = " or ".join(_FOLDERS.get(split, (split,)))
    raise ImagesError(
        f"expected images of split {split!r} under {root}: {folders}/CLASS/*.jpg, or "
        f"the binary files of CIFAR-10, CIFAR-100 or STL-10; found {_listing(root)}"
    )


def _read_folder(folder: Path) -> ImageSource:
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise ImagesError(f"expected {folder}/CLASS/*.jpg or .png, found {_listing(folder)}")
    images = [_decode(file) for file, _ in files]
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        raise ImagesError(f"expected images of one size in {folder}, found {len(sizes)} sizes from {sizes[0]} on")
    return ImageSource(torch.stack(images), torch.tensor([label for _, label in files]), classes, folder)


def _decode(file: Path) -> Tensor:
    try:
        return decode_image(torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8), ImageReadMode.RGB)
    except (RuntimeError, ValueError) as error:
        raise ImagesError(f"{file}: cannot be decoded: {error}") from error


def _read_cifar(files: list[Path], skip: int, names: Path) -> ImageSource:
    """Records of ``skip`` label bytes, the last of them the class, and 3072 of an image."""
    record, rows = skip + 3072, []
    for file in files:
        if not file.is_file():
            raise ImagesError(f"expected {file.name} beside {files[0].name}, found none in {file.parent}")
        data = np.fromfile(file, np.uint8)
        if not data.size or data.size % record:
            raise ImagesError(f"{file}: expected records of {record} bytes, found {data.size} bytes in all")
        rows.append(data.reshape(-1, record))
    joined = np.concatenate(rows)
    images = torch.from_numpy(np.ascontiguousarray(joined[:, skip:])).view(-1, 3, 32, 32)
    labels = torch.from_numpy(joined[:, skip - 1].astype(np.int64))
    return ImageSource(images, labels, _class_names(names, labels), files[0].parent)


def _read_stl10(root: Path, name: str) -> ImageSource:
    """Images column by column, channel after channel; labels from 1."""
    data = np.memmap(root / f"{name}_X.bin", np.uint8, "c")
    if data.size % (3 * 96 * 96):
        raise ImagesError(f"{name}_X.bin: expected images of {3 * 96 * 96} bytes, found {data.size} bytes in all")
    images = torch.from_numpy(data.reshape(-1, 3, 96, 96)).transpose(2, 3)
    if name == "unlabeled":
        return ImageSource(images, torch.zeros(len(images), dtype=torch.int64), (name,), root)
    labels = torch.from_numpy(np.fromfile(root / f"{name}_y.bin", np.uint8).astype(np.int64) - 1)
    if len(labels) != len(images):
        raise ImagesError(f"{root}: expected a label for each of {len(images)} images, found {len(labels)}")
    return ImageSource(images, labels, _class_names(root / "class_names.txt", labels), root)


def _class_names(file: Path, labels: Tensor) -> tuple[str, ...]:
    known = tuple(file.read_text(encoding="utf-8").split()) if file.is_file() else ()
    count = int(labels.max()) + 1
    return known if len(known) >= count else tuple(f"class_{i}" for i in range(count))


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no folder"
    return ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
