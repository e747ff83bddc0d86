"""Strips of images, and of what decoders make of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equissl.evaluation.decoding import DECODED
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.runs import Run

TILE = 96  # pixels that an image is shown at


def decoded_pictures(runs: Sequence[Run]) -> list[Picture]:
    """Draw rows of validation images, and of what each run's decoder makes of them; none for runs without a decoder.

    Images that several runs were given are drawn once, before the first of them.

    Args:
        runs: of the page.
    """
    pictures: list[Picture] = []
    originals: set[str] = set()
    for run in runs:
        file = run.file(DECODED)
        if file is None:
            continue
        with np.load(file) as arrays:
            rows = {name: data_uri(strip(torch.from_numpy(arrays[name]).unbind())) for name in arrays.files}
        images = rows.pop("images")
        if images not in originals:
            originals.add(images)
            pictures.append(Picture(images, "images"))
        pictures += [Picture(uri, f"{run.name} · {name}", colour=run.colour) for name, uri in rows.items()]
    return pictures


def strip(images: Sequence[Tensor]) -> Image.Image:
    """Return images (3, h, w) uint8 side by side.

    Args:
        images: of any sizes.
    """
    whole = Image.new("RGB", (TILE * len(images), TILE))
    for place, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)
        whole.paste(tile, (TILE * place, 0))
    return whole
