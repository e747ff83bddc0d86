"""Views of some images as training draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equissl.datasets.images.sequences import ImageSequences
from equissl.datasets.images.whole import whole_images
from equissl.evaluation.images.decoding import DECODED
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.runs import Run

TILE = 96  # pixels that a view is shown at


def gallery(dataset: ImageSequences, strips: int = 12) -> list[Picture]:
    """The whole image and its views, of images spread over the data set.

    Args:
        dataset: that makes the views.
        strips: images at most.
    """
    rows = np.unique(np.linspace(0, len(dataset) - 1, strips).round().astype(np.int64))
    batch = dataset.__getitems__([(0, int(row)) for row in rows])
    wholes = whole_images(dataset.store.read(rows), TILE)
    small = batch.small_crops
    return [
        Picture(
            data_uri(_strip([wholes[i], *batch.images[i], *(() if small is None else small[i])])),
            _caption(dataset, row),
        )
        for i, row in enumerate(rows)
    ]


def decoded_pictures(runs: Sequence[Run]) -> list[Picture]:
    """Rows of validation images, and of what each run's decoder makes of them; none for runs without a decoder.

    Args:
        runs: of the page.
    """
    pictures = []
    for run in runs:
        file = run.file(DECODED)
        if file is None:
            continue
        with np.load(file) as arrays:
            rows = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        for name, pixels in rows.items():
            pictures.append(Picture(data_uri(_strip(pixels.unbind())), f"{run.name} · {name}", colour=run.colour))
    return pictures


def _strip(images: Sequence[Tensor]) -> Image.Image:
    """Images (3, h, w) uint8 side by side."""
    strip = Image.new("RGB", (TILE * len(images), TILE))
    for place, image in enumerate(images):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)
        strip.paste(tile, (TILE * place, 0))
    return strip


def _caption(dataset: ImageSequences, row: int) -> str:
    label = int(dataset.store.labels[row])
    return dataset.store.classes[label] if label >= 0 else "without label"
