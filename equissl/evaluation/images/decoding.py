"""Pictures that a method's decoder makes of validation images, kept for pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from equissl.datasets.images.sources import ImageSource, ImageSubset
from equissl.datasets.images.whole import iterate_images
from equissl.evaluation.images.encoding import ImageEncoders
from equissl.util.files import atomic_path

DECODED = "decoded.npz"
SHOWN = 8  # images, spread over those of validation


@torch.inference_mode()
def write_decoded(folder: Path, source: ImageSource, encoders: ImageEncoders) -> None:
    """Write ``decoded.npz``: ``images`` and, by name, what the trained method makes of them, (n, 3, S, S) uint8 each.

    Nothing is written for a method without a decoder. Random draws are those of the evaluation's seed.

    Args:
        folder: of the evaluation.
        source: validation images.
        encoders: with the trained method.
    """
    rows = np.unique(np.linspace(0, len(source) - 1, SHOWN).round().astype(np.int64))
    images = torch.cat(list(iterate_images(ImageSubset(source, rows), encoders.size, SHOWN)))
    generator = torch.Generator().manual_seed(encoders.options.seed)
    found = encoders.trained.decoded(images.to(encoders.device), generator)
    if not found:
        return
    arrays: dict[str, Any] = {name: pixels.mul(255).round().byte().cpu().numpy() for name, pixels in found.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / DECODED) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=images.numpy(), **arrays)
