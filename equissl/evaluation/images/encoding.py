"""Frozen features of whole images, of an encoder and of the same encoder before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.pixels import crop_resize
from equissl.datasets.images.sources import ImageSource, ImageSubset
from equissl.datasets.images.whole import iterate_images
from equissl.encoders.calibrate import calibrate
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.initial import initial_method
from equissl.evaluation.views.features import FeatureSet, check_finite
from equissl.methods.views.base import ViewMethod
from equissl.runs.config import PretrainConfig
from equissl.util.device import choose_device, choose_precision
from equissl.util.progress import staged

INITIAL, PIXELS = "initial", "pixels"  # parts beside those of the method
EMBEDDING = "embedding"  # what a method's loss works on


@dataclass(frozen=True)
class ImageEncoders:
    """A method, and the same method as training started with it.

    Attributes:
        trained, initial: in eval mode.
        size: side of the images in pixels.
        options: of the evaluation.
        device: where they are.
    """

    trained: ViewMethod
    initial: ViewMethod
    size: int
    options: ImageOptions
    device: torch.device

    @torch.inference_mode()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Encode images (n, 3, S, S) uint8.

        Returns:
            parts (n, D) on the CPU: the trained method's, ``initial`` and raw ``pixels``.
        """
        moved, kind = images.to(self.device), self.device.type
        precision = choose_precision(self.options.precision, "cpu" if kind == "cpu" else "gpu")
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            found = {**self.trained.features(moved), INITIAL: self.initial.features(moved)["all"]}
        found[PIXELS] = small_pixels(images, self.options.pixels)
        return {part: values.float().cpu() for part, values in found.items()}

    def feature_set(self, source: ImageSource) -> FeatureSet:
        """Encode all images of a source, each one view of one object.

        Raises:
            ValueError: features that are not finite.
            ImagesError: a file that cannot be decoded.
        """
        count = -(-len(source) // self.options.batch_size)
        images = staged(iterate_images(source, self.size, self.options.batch_size), "features", "batches", count)
        batches = [self.features(x) for x in images]
        parts = {part: torch.cat([batch[part] for batch in batches])[:, None] for part in batches[0]}
        check_finite(parts)
        nothing_turns = torch.zeros(len(source), 1, 4, dtype=torch.float64)
        return FeatureSet(parts, np.arange(len(source)), source.labels, nothing_turns)


def image_encoders(
    method: ViewMethod, training: PretrainConfig, train: ImageSource, size: int, options: ImageOptions
) -> ImageEncoders:
    """The frozen encoders of a run.

    Args:
        method: trained.
        training: config of the run.
        train: images that statistics of the initial encoder's batch norm are taken from, unless it was pretrained.
        size: side of the images in pixels.
        options: of the evaluation.
    """
    device = choose_device(options.device)
    initial = initial_method(training).to(device)
    if options.calibrate and training.init is None:  # a pretrained encoder has statistics
        _calibrate(initial, train, size, options)
    frozen = [found.to(device).eval().requires_grad_(False) for found in (method, initial)]
    return ImageEncoders(frozen[0], frozen[1], size, options, device)


@torch.inference_mode()
def encode_images(
    method: ViewMethod, source: ImageSource, size: int, part: str = "all", batch_size: int = 256
) -> Tensor:
    """Encode all images of a source without augmentation.

    Args:
        method: frozen, in eval mode, where it computes.
        source: of the images.
        size: side of the images in pixels.
        part: of the method's features, or ``embedding``.
        batch_size: images encoded at a time.

    Returns:
        (N, D) on the CPU.

    Raises:
        ValueError: a part that the method does not have, or values that are not finite.
        ImagesError: a file that cannot be decoded.
    """
    device, batches = next(method.parameters()).device, -(-len(source) // batch_size)
    images = staged(iterate_images(source, size, batch_size), "features", "batches", batches)
    rows = torch.cat([features_part(method, method.features(x.to(device)), part).float().cpu() for x in images])
    check_finite({part: rows})
    return rows


def features_part(method: ViewMethod, parts: dict[str, Tensor], part: str) -> Tensor:
    """Return a part of the features of a method, or the embedding that its loss works on.

    Args:
        method: of the features.
        parts: from its ``features``.
        part: name.

    Raises:
        ValueError: a part that it does not have, with those that it has.
    """
    found = method.embedding(parts) if part == EMBEDDING else parts.get(part)
    if found is None:
        raise ValueError(f"expected a part of {type(method).__name__}'s features ({', '.join(parts)}), got {part!r}")
    return found


def small_pixels(images: Tensor, side: int) -> Tensor:
    """Return pixels (n, D) in [0, 1], of images made smaller where they are larger than ``side``.

    Args:
        images: (n, 3, S, S) uint8.
        side: in pixels, at most.
    """
    full = images.shape[2]
    if full <= side:
        return images.flatten(1).float() / 255
    return crop_resize(images, torch.tensor([[0, 0, full, full]]).expand(len(images), 4), side).flatten(1)


def _calibrate(method: ViewMethod, train: ImageSource, size: int, options: ImageOptions) -> None:
    """Statistics of batch norm from training images that are spread over all of them."""
    count = min(options.calibrate, len(train))
    chosen = ImageSubset(train, np.linspace(0, len(train) - 1, count).round().astype(np.int64))
    device = next(method.parameters()).device
    batches = iterate_images(chosen, size, options.batch_size)
    images = torch.cat([method.normalise(batch.to(device)) for batch in batches])
    calibrate(method.encoder, images, options.batch_size)


def named(parts: Mapping[str, Tensor]) -> str:
    """Names and sizes of parts, for the log."""
    return ", ".join(f"{part} ({values.shape[-1]})" for part, values in parts.items())
