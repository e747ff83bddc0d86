"""From the section ``data`` of a run on images to its data set."""

from __future__ import annotations

from typing import Any

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import open_images, open_undivided
from equissl.datasets.images.live import LiveImages
from equissl.datasets.images.sequences import ImageSequences, SmallCrops, choose_policy, open_sequences
from equissl.datasets.images.sources import ImagesError, ImageSource, ImageSubset, JoinedImages
from equissl.datasets.samplers import Inflated, replicate_for
from equissl.datasets.sampling import choose_labelled
from equissl.datasets.views.live.open import open_live

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


def inflate(data: ImagesData, source: ImageSource, seed: int) -> tuple[ImageSource, Inflated | None]:
    """Put the generated images of a section of the config after the real ones, and choose the order of an epoch.

    Args:
        data: section of the config.
        source: real images to train on.
        seed: of the run, for a section without one.

    Returns:
        all images, and the sampler; None where every image is visited once and nothing is generated.

    Raises:
        ImagesError: no images in the folder of generated ones, or other classes.
        ValueError: a share or a number of copies that is not possible, or generated images of both kinds.
        MeshSourceError, RendererError: see `open_live`.
    """
    seed = seed if data.seed is None else data.seed
    generated = _open_generated(data, seed)
    if generated is None and data.replicate == 1 and data.real_share is None:
        return source, None
    if data.real_share is not None and (data.replicate != 1 or generated is None):
        raise ValueError("expected data.real_share with data.generated or data.live, and without data.replicate")
    images = source if generated is None else JoinedImages(source, generated)
    real, made = len(source), len(images) - len(source)
    copies = data.replicate if data.real_share is None else replicate_for(real, made, data.real_share)
    return images, Inflated(real, made, copies, seed)


def _open_generated(data: ImagesData, seed: int) -> ImageSource | None:
    if data.live is None:
        return open_undivided(data.generated) if data.generated else None
    if data.generated:
        raise ValueError(f"expected data.generated or data.live, got both ({data.generated})")
    return LiveImages(open_live(data.live, "train", views=1, seed=seed, workers=data.workers))


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
        policy = choose_policy(data.policy, data.policy_options, data.strength)
        options |= {"size": data.size, "policy": policy, "small_crops": small_crops}
    elif data.strength != 1:
        raise ValueError(f"expected data.strength 1 with data.form {data.form!r}, got {data.strength}")
    return open_sequences(data.form, source, None, views, seed if data.seed is None else data.seed, **options)
