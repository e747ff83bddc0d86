"""Formats of images by name, and the folder of one opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.images.formats.base import ImageFormat
from equissl.datasets.images.formats.folder import listing
from equissl.datasets.images.sources import ImagesError, ImageSource, ImageSubset
from equissl.datasets.splits import SPLITS
from equissl.datasets.views.split import split_objects
from equissl.util.registry import Registry

FORMATS: Registry[type[ImageFormat]] = Registry(
    "image format",
    {
        "cifar10": "equissl.datasets.images.formats.cifar:Cifar10",
        "cifar100": "equissl.datasets.images.formats.cifar:Cifar100",
        "stl10": "equissl.datasets.images.formats.stl10:Stl10",
        "mnist": "equissl.datasets.images.formats.mnist:Mnist",
        "views": "equissl.datasets.images.formats.views:StoredViews",
        "folder": "equissl.datasets.images.formats.folder:Folder",
    },
    group="equissl.image_formats",
    base=ImageFormat,
    error=ImagesError,
)
AUTO = "auto"

__all__ = ["AUTO", "FORMATS", "ImageFormat", "find_format", "open_images", "open_undivided"]


def open_images(
    root: Path | str, split: str | None = "train", format: str = AUTO, val_fraction: float = 0.1, seed: int = 0
) -> ImageSource:
    """The images of one split, in the order of the files or of their names.

    Args:
        root: folder, see `FORMATS`.
        split: ``train``, ``val``, or ``unlabeled`` where the folder has it; None means ``train``.
        format: one of `FORMATS`, an import path, or ``auto``, which recognises it.
        val_fraction: of each class, held out where the images come without a validation split.
        seed: of the choice of those.

    Raises:
        ImagesError: nothing of that format or split, or damaged files.
    """
    root, split = Path(root), split or "train"
    form = find_format(root, format)
    held = form.splits(root)
    if split in held and (split != "train" or "val" in held):
        return form.read(root, split)
    if split in SPLITS and "train" in held:
        return _divide(form.read(root, "train"), split, val_fraction, seed)
    raise ImagesError(f"expected images of split {split!r} in {root}, found {' and '.join(held)} ({form.name})")


def open_undivided(root: Path | str, format: str = AUTO) -> ImageSource:
    """All images of a folder that are there to learn from, none of which is held out.

    Args:
        root: folder, see `FORMATS`.
        format: see `open_images`.

    Raises:
        ImagesError: no training images, or damaged files.
    """
    root = Path(root)
    form = find_format(root, format)
    split = next((split for split in ("train", "unlabeled") if split in form.splits(root)), None)
    if split is None:
        raise ImagesError(f"expected images to learn from in {root}, found {' and '.join(form.splits(root))} alone")
    return form.read(root, split)


def find_format(root: Path, name: str = AUTO) -> ImageFormat:
    """The format of a folder.

    Args:
        root: the folder.
        name: one of `FORMATS`, an import path, or ``auto``.

    Raises:
        ImagesError: an unknown format, or a folder of another one.
    """
    forms = [FORMATS[known]() for known in (FORMATS.names() if name == AUTO else [name])]
    for form in forms:
        if form.splits(root):
            return form
    expected = "; ".join(f"{form.name}: {form.layout}" for form in forms)
    raise ImagesError(f"expected images in {root} ({expected}), found {listing(root)}")


def _divide(source: ImageSource, split: str, val_fraction: float, seed: int) -> ImageSource:
    labels = source.labels.numpy().clip(0)  # images without labels count as one class
    assigned = split_objects(labels, [""] * len(labels), val_fraction, seed)
    rows = np.flatnonzero(assigned == SPLITS[split])
    if not len(rows):
        raise ImagesError(
            f"expected images of split {split!r} in {source.path}: it has no validation split, and val_fraction "
            f"{val_fraction} holds out none of its {len(source)} images"
        )
    return ImageSubset(source, rows)
