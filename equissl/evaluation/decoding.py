"""Pictures that a method's decoder makes of validation images, kept for pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equissl.util.files import atomic_path

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

DECODED = "decoded.npz"
SHOWN = 8  # images


def shown_rows(count: int) -> np.ndarray:
    """Return the positions (n,) of the images to decode, spread over all of them.

    Args:
        count: number of validation images or objects.
    """
    return np.unique(np.linspace(0, count - 1, SHOWN).round().astype(np.int64))


@torch.inference_mode()
def write_decoded(folder: Path, method: ViewMethod, images: Tensor, seed: int) -> None:
    """Write ``decoded.npz``: ``images`` and, by name, what the trained method makes of them, (n, 3, S, S) uint8 each.

    Nothing is written for a method without a decoder.

    Args:
        folder: of the evaluation.
        method: in eval mode.
        images: (n, 3, S, S) uint8, of validation, of the size that the method is evaluated on.
        seed: of random draws.
    """
    generator = torch.Generator().manual_seed(seed)
    found = method.decoded(images.to(next(method.parameters()).device), generator)
    if not found:
        return
    arrays: dict[str, Any] = {name: pixels.mul(255).round().byte().cpu().numpy() for name, pixels in found.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / DECODED) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=images.cpu().numpy(), **arrays)
