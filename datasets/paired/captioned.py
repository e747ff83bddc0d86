"""Captioned images of users: a CSV file beside images, or tar shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.sources import UNLABELLED, ImageFiles, ImageSource, ImageSubset
from equissl.datasets.paired.captions import CaptionError, Captions, Findings, is_caption_file, read_captions
from equissl.datasets.paired.tar_shards import TarImages, read_shards
from equissl.datasets.splits import SPLITS
from equissl.datasets.views.split import split_objects
from equissl.util.files import describe_folder
from equissl.util.listing import entries, subfolders

FILES = ("captions.csv", "captions.tsv")  # looked for in a folder
EXPECTED = (
    "a CSV file whose header names image and text, a folder with captions.csv, or tar shards (.tar, or a folder of "
    "them, divided into train and val or not) of images with .txt or .json beside them"
)


@dataclass(frozen=True)
class CaptionedImages:
    """N images with at least one caption each.

    Attributes:
        source: images, with labels where the captions' files name classes.
        captions: of the images, in the same order.
        findings: what was left out or cut of all images of the place.
    """

    source: ImageSource
    captions: Captions
    findings: Findings


def is_captioned(path: Path) -> bool:
    """Return True for a caption file, a folder with one, or tar shards."""
    return is_caption_file(path) or (path.is_dir() and _caption_file(path) is not None) or bool(_shards(path))


def open_captioned(
    path: Path | str, split: str | None = "train", val_fraction: float = 0.1, seed: int = 0
) -> CaptionedImages:
    """Open the captioned images of a split.

    Args:
        path: CSV file, tar file, or folder.
        split: ``train``, ``val``, or None for all.
        val_fraction: share of the images of each class that is held out where the data have no split of their own.
        seed: of the choice of those.

    Raises:
        CaptionError: nothing of that form, files that are damaged, images that are missing, or no images of the split.
    """
    path = Path(path)
    if split not in (None, *SPLITS):
        raise CaptionError(f"expected split to be one of {[*SPLITS]} or None, got {split!r}")
    file = path if is_caption_file(path) else _caption_file(path) if path.is_dir() else None
    if file is not None:
        images, texts, splits, findings = _open_file(file)
    elif shards := _shards(path):
        images, texts, splits, findings = _open_shards(shards, path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        read_captions(path)  # says what is wrong with it
        raise CaptionError(f"expected {EXPECTED}, got {path}")
    else:
        raise CaptionError(f"expected {EXPECTED}; {path} is\n{describe_folder(path)}")
    rows = _rows_of(images, splits, split, val_fraction, seed)
    chosen = images if len(rows) == len(images) else ImageSubset(images, rows)
    return CaptionedImages(chosen, Captions([texts[row] for row in rows]), findings)


Opened = tuple[ImageSource, list[list[str]], list[str], Findings]


def _open_file(file: Path) -> Opened:
    table, folder = read_captions(file), file.parent
    missing = [name for name in table.images if not (folder / name).is_file()]
    if missing:
        raise CaptionError(
            f"{file}: expected images at their names beside it, {len(missing)} of {len(table.images)} are not there: "
            f"{missing[0]!r}"
        )
    labels, classes = _numbered(table.labels, file)
    return ImageFiles(table.images, labels, classes, folder), table.texts, table.splits, table.findings


def _open_shards(shards: list[tuple[Path, str]], path: Path) -> Opened:
    findings, files = Findings(), [file for file, _ in shards]
    samples = read_shards(files, findings)
    if not samples:
        found = "; ".join(findings.lines()) or "no samples"
        raise CaptionError(f"expected images with captions in the tar files of {path}, found none: {found}")
    labels, classes = _numbered([sample.label for sample in samples], path)
    splits = [shards[sample.shard][1] for sample in samples]
    texts = [sample.texts for sample in samples]
    return TarImages(files, samples, labels, classes, path), texts, splits, findings


def _numbered(names: Sequence[str], path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels (N,) that count the classes in alphabetical order; all `UNLABELLED` where no image has a class."""
    classes = tuple(sorted({name for name in names if name}))
    numbers = {name: number for number, name in enumerate(classes)}
    return torch.tensor([numbers.get(name, UNLABELLED) for name in names]), classes


def _rows_of(images: ImageSource, splits: list[str], split: str | None, val_fraction: float, seed: int) -> np.ndarray:
    """Return the rows of a split: the data's own, or one by class; images that name no split are for training."""
    if split is None:
        return np.arange(len(images))
    if any(splits):
        rows = np.flatnonzero([(each or "train") == split for each in splits])
    else:
        labels = images.labels.numpy().clip(0)  # images without labels count as one class
        rows = np.flatnonzero(split_objects(labels, [""] * len(labels), val_fraction, seed) == SPLITS[split])
    if not len(rows):
        raise CaptionError(
            f"expected captioned images of split {split!r} in {images.path}, found none of {len(images)}"
        )
    return rows


def _caption_file(folder: Path) -> Path | None:
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def _shards(path: Path) -> list[tuple[Path, str]]:
    """Return tar files with the split of each, empty where the folder is not divided."""
    if path.is_file():
        return [(path, "")] if path.suffix.lower() == ".tar" else []
    divided = [(file, folder.name) for folder in subfolders(path) if folder.name in SPLITS
               for file in entries(folder, "*.tar")]  # fmt: skip
    return divided or [(file, "") for file in entries(path, "*.tar")]
