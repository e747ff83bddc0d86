"""Image sequences by name, as they are asked for or as a view store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.images.policies import POLICIES, Policy
from equissl.datasets.images.sequences.augmentations import AugmentationSequences
from equissl.datasets.images.sequences.base import ImageSequences
from equissl.datasets.images.sequences.saccades import SaccadeSequences
from equissl.datasets.images.sources import ImagesError, ImageSource
from equissl.datasets.splits import SPLITS
from equissl.datasets.views.store.writer import write_store
from equissl.util.registry import Registry

FORMS: Registry[type[ImageSequences]] = Registry(
    "form of image sequences",
    {"augmentations": AugmentationSequences, "saccades": SaccadeSequences},
    group="equissl.image_forms",
    base=ImageSequences,
)
_BATCH = 64


def choose_policy(name: str, options: Mapping[str, Any] | None = None, strength: float = 1.0) -> Policy:
    """The augmentation policy of a name.

    Args:
        name: one of `POLICIES`, or an import path.
        options: see `Policy.altered`; they stand in place of scaled values.
        strength: see `Recipe.scaled`.

    Raises:
        ValueError: an unknown policy or option, or a value out of range.
    """
    return POLICIES[name].scaled(strength).altered(options or {})


def open_sequences(
    form: str, images: ImageSource | Path | str, split: str | None, views: int, seed: int = 0, **options: Any
) -> ImageSequences:
    """Sequences of ``views`` views of the images of a split.

    Args:
        form: ``augmentations`` or ``saccades``, or an import path.
        images: see :func:`equissl.datasets.images.formats.open_images`.
        split: ``train``, ``val`` or ``unlabeled``; None means ``train``.
        views: V.
        seed: of all that is random.
        **options: of :class:`AugmentationSequences` (``policy`` as a name, ``policy_options``) or
            :class:`SaccadeSequences`.

    Raises:
        ValueError: for another form or option.
    """
    changes = options.pop("policy_options", None)
    if changes is not None or isinstance(options.get("policy"), str):
        options["policy"] = choose_policy(options.get("policy", "seq_jepa"), changes)
    try:
        return FORMS[form](images, split, views, seed, **options)
    except TypeError as error:
        raise ValueError(f"options of {form}: {error}") from error


def write_sequences(
    root: Path | str,
    out: Path | str,
    form: str = "augmentations",
    views: int = 9,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> Path:
    """Fixed sequences of all labelled images as a view store, so that runs on sequences are evaluated like any other.

    All views are made as observed ones are.

    Args:
        root: images, see :func:`equissl.datasets.images.formats.open_images`.
        out: the ``.h5`` file.
        form: ``augmentations`` or ``saccades``.
        views: views of each image.
        seed: of all that is random.
        options: of the sequences, see :func:`open_sequences`.

    Returns:
        ``out``.

    Raises:
        ImagesError: images without labels, or training and validation images of different sizes or classes.
    """
    options = {**({"policy_options": {"last": None}} if form == "augmentations" else {}), **(options or {})}
    parts = [open_sequences(form, root, split, views, seed, **options) for split in SPLITS]
    first, last = (part.store for part in parts)
    if not first.labelled or first.classes != last.classes or parts[0].image_size() != parts[1].image_size():
        raise ImagesError(f"expected labelled images of one size and the same classes in both splits of {root}")
    images, latents, labels = [], [], []
    for part in parts:
        for start in range(0, len(part), _BATCH):
            # another epoch for each split: views differ though positions are the same
            batch = part.__getitems__([(SPLITS[part.split], i) for i in range(start, min(start + _BATCH, len(part)))])
            images.append(batch.images.permute(0, 1, 3, 4, 2).numpy())
            latents.append(batch.latents.double().numpy())
            labels.append(batch.labels.numpy())
    split = np.repeat([SPLITS[part.split] for part in parts], [len(part) for part in parts]).astype(np.uint8)
    provenance = {"seed": seed, "renderer": {"name": form, "version": 1, "options": _plain(options)}}
    pictures, numbers, names = (np.concatenate(arrays) for arrays in (images, latents, labels))
    schema, classes = parts[0].schema, first.classes
    return write_store(out, pictures, numbers, names, schema, classes, split, encoding="raw", attributes=provenance)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, str | int | float | dict | None) else str(value)
        for key, value in options.items()
    }
