"""Ordinary folders of image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from equissl.datasets.images.decoding import SUFFIXES
from equissl.datasets.images.formats.base import ImageFormat
from equissl.datasets.images.sources import UNLABELLED, ImageFiles, ImagesError, ImageSource
from equissl.util.listing import entries, files_below, subfolders

_FOLDERS = {"train": ("train",), "val": ("val", "test"), "unlabeled": ("unlabeled", "unlabelled")}


class Folder(ImageFormat):
    """``CLASS/FILE`` or files without classes, below ``train`` and ``val`` (or ``test``) or not divided."""

    name = "folder"
    layout = "[train,val,test/]CLASS/*.jpg, or *.jpg without classes"

    def splits(self, root: Path) -> tuple[str, ...]:
        if not root.is_dir():
            return ()
        named = {split: _folder(root, split) for split in _FOLDERS}
        found = tuple(split for split, folder in named.items() if folder is not None)
        below = {entry.name for entry in subfolders(root)}
        divided = "train" in found or (found and below <= {name for names in _FOLDERS.values() for name in names})
        if divided:
            return found
        return ("train",) if next(_images(root), None) is not None else ()

    def read(self, root: Path, split: str) -> ImageSource:
        folder, train = _folder(root, split), _folder(root, "train")
        if split == "train" and train is None:
            folder = root
        assert folder is not None
        known = _classes(train) if split == "val" and train is not None else ()
        return read_folder(folder, known)


def read_folder(folder: Path, known: Sequence[str] = ()) -> ImageSource:
    """List the images of a folder without opening one.

    Args:
        folder: with a folder for each class, or images without classes.
        known: classes that labels count; none: those found, in alphabetical order.

    Raises:
        ImagesError: no images, classes that are not known, or images beside folders of classes.
    """
    classes = _classes(folder)
    loose = [entry.name for entry in entries(folder) if _is_image(entry) and entry.is_file()]
    if loose and classes:
        raise ImagesError(f"expected images or folders of classes in {folder}, found {loose[0]} beside {classes[0]}/")
    if loose:
        return ImageFiles(loose, torch.full((len(loose),), UNLABELLED), (), folder)
    if unknown := sorted(set(classes) - set(known or classes)):
        raise ImagesError(f"expected the training classes in {folder}, found {', '.join(unknown[:5])} too")
    names = tuple(known or classes)
    files = [
        (file.relative_to(folder).as_posix(), label)
        for label, name in enumerate(names)
        for file in sorted(_images(folder / name))
    ]
    if not files:
        raise ImagesError(f"expected {folder}/CLASS/*.jpg or .png, found {listing(folder)}")
    return ImageFiles([name for name, _ in files], torch.tensor([label for _, label in files]), names, folder)


def listing(folder: Path) -> str:
    """A few names of what a folder holds, for errors."""
    if not folder.is_dir():
        return "no folder"
    return ", ".join([entry.name for entry in entries(folder)][:8]) or "nothing"


def _folder(root: Path, split: str) -> Path | None:
    return next((root / name for name in _FOLDERS[split] if (root / name).is_dir()), None)


def _classes(folder: Path) -> tuple[str, ...]:
    """Folders with images anywhere below them, in alphabetical order."""
    return tuple(entry.name for entry in subfolders(folder) if next(_images(entry), None) is not None)


def _images(folder: Path) -> Iterator[Path]:
    """Image files anywhere below a folder."""
    return (file for file in files_below(folder) if _is_image(file))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES
