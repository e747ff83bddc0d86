"""Sequences by name, and as a view store: what an evaluation takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.images.sequences.augmentations import AugmentationSequences, Recipe
from equissl.datasets.images.sequences.base import ImageSequences
from equissl.datasets.images.sequences.saccades import SaccadeSequences
from equissl.datasets.images.sources import ImagesError
from equissl.datasets.views.store.format import SPLITS
from equissl.datasets.views.store.writer import write_store
from equissl.util.registry import Registry

IMAGE_SEQUENCES: Registry[type[ImageSequences]] = Registry(
    "kind of sequences",
    {"augmentations": AugmentationSequences, "saccades": SaccadeSequences},
    group="equissl.image_sequences",
    base=ImageSequences,
)
_BATCH = 64


def open_sequences(
    kind: str, root: Path | str, split: str | None, views: int, seed: int = 0, **options: Any
) -> ImageSequences:
    """Sequences of ``views`` views of the images of a split.

    Args:
        kind: ``augmentations``, ``saccades``, or the import path of a subclass of `ImageSequences`.
        root: images, see :func:`equissl.datasets.images.sequences.read_images`.
        split: ``train``, ``val`` or ``unlabeled``; None means ``train``.
        views: V.
        seed: of all that is random.
        **options: of :class:`AugmentationSequences` (recipes as dictionaries) or :class:`SaccadeSequences`.

    Raises:
        ValueError: for another kind or option.
    """
    sequences = IMAGE_SEQUENCES[kind]
    recipes = {key: Recipe(**value) for key, value in options.items() if isinstance(value, dict)}
    try:
        return sequences(root, split, views, seed, **{**options, **recipes})
    except TypeError as error:
        raise ValueError(f"options of {kind}: {error}") from error


def write_sequences(
    root: Path | str,
    out: Path | str,
    kind: str = "augmentations",
    views: int = 9,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> Path:
    """Fixed sequences of all labelled images as a view store, so that runs on sequences are evaluated like any other.

    All views are made as observed ones are.

    Args:
        root: images, see :func:`equissl.datasets.images.sequences.read_images`.
        out: the ``.h5`` file.
        kind: ``augmentations`` or ``saccades``.
        views: views of each image.
        seed: of all that is random.
        options: of the sequences, see :func:`open_sequences`.

    Returns:
        ``out``.

    Raises:
        ImagesError: training and validation images of different sizes or classes.
    """
    options = {**({"target": None} if kind == "augmentations" else {}), **(options or {})}
    parts = [open_sequences(kind, root, split, views, seed, **options) for split in SPLITS]
    first, last = (part.store for part in parts)
    if first.classes != last.classes or first.images.shape[1:] != last.images.shape[1:]:
        raise ImagesError(f"expected one size and the same classes in both splits of {root}")
    images, latents, labels = [], [], []
    for part in parts:
        for start in range(0, len(part), _BATCH):
            # another epoch for each split: views differ though positions are the same
            batch = part.__getitems__([(SPLITS[part.split], i) for i in range(start, min(start + _BATCH, len(part)))])
            images.append(batch.images.permute(0, 1, 3, 4, 2).numpy())
            latents.append(batch.latents.double().numpy())
            labels.append(batch.labels.numpy())
    split = np.repeat([SPLITS[part.split] for part in parts], [len(part) for part in parts]).astype(np.uint8)
    provenance = {"seed": seed, "renderer": {"name": kind, "version": 1, "options": _plain(options)}}
    pictures, numbers, names = (np.concatenate(arrays) for arrays in (images, latents, labels))
    schema, classes = parts[0].schema, first.classes
    return write_store(out, pictures, numbers, names, schema, classes, split, encoding="raw", attributes=provenance)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, str | int | float | dict | None) else str(value)
        for key, value in options.items()
    }
