"""Whole images without augmentation, as an evaluation sees them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.pixels import crop_resize
from equissl.datasets.images.policies import PLAIN
from equissl.datasets.images.sequences.augmentations import largest_boxes
from equissl.datasets.images.sources import Images, ImageSource


def whole_images(images: Images, size: int) -> Tensor:
    """Resize the largest square in the middle of each image.

    Args:
        images: (n, 3, H, W) uint8, or n images of several sizes.
        size: side of the results.

    Returns:
        (n, 3, size, size) uint8.
    """
    sides = torch.tensor([image.shape[1:] for image in images])
    return (crop_resize(images, largest_boxes(sides, PLAIN.ratio), size) * 255).round().to(torch.uint8)


def iterate_images(source: ImageSource, size: int, batch_size: int) -> Iterator[Tensor]:
    """Yield all images of a source, in order: (n, 3, size, size) uint8.

    Args:
        source: of the images.
        size: side of the results.
        batch_size: n of all batches but the last.
    """
    for start in range(0, len(source), batch_size):
        yield whole_images(source.read(np.arange(start, min(start + batch_size, len(source)))), size)
