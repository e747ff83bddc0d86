"""From the section ``data`` of a run on images to its data set."""

from __future__ import annotations

from typing import Any

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import open_images
from equissl.datasets.images.sequences import ImageSequences, SmallCrops, choose_policy, open_sequences
from equissl.datasets.images.sources import ImagesError, ImageSource, ImageSubset
from equissl.datasets.sampling import choose_labelled

AUGMENTATIONS = "augmentations"


def open_source(data: ImagesData, split: str | None = "train") -> ImageSource:
    """Open the images of a split.

    Args:
        data: section of the config.
        split: ``train`` means the split that the run learns from; ``val``.

    Raises:
        ImagesError: see `open_images`.
        ValueError: a share of labels outside (0, 1], or of images without labels.
    """
    learnt = split in ("train", None)
    source = open_images(data.root, data.split if learnt else split, data.format, data.val_fraction)
    if not learnt or data.labels == 1:
        return source
    return ImageSubset(source, choose_labelled(source.labels.numpy(), data.labels, data.label_seed))


def open_form(
    data: ImagesData, source: ImageSource, views: int, seed: int, small_crops: SmallCrops | None = None
) -> ImageSequences:
    """Make the views that a section of the config describes.

    Args:
        data: section of the config.
        source: images.
        views: of each.
        seed: of the run, for a section without one.
        small_crops: that are made beside the views, of augmentations.

    Raises:
        ImagesError: images whose size is not known, and none in the config.
        ValueError: an unknown form, policy or option.
    """
    options: dict[str, Any] = dict(data.form_options)
    if data.form == AUGMENTATIONS:
        if data.size is None and source.size is None:
            raise ImagesError(f"the images of {source.path} may be of several sizes: expected data.size, the views'")
        policy = choose_policy(data.policy, data.policy_options)
        options |= {"size": data.size, "policy": policy, "small_crops": small_crops}
    return open_sequences(data.form, source, None, views, seed if data.seed is None else data.seed, **options)
