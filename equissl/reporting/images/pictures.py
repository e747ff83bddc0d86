"""Views of some images as training draws them."""

from __future__ import annotations

import numpy as np

from equissl.datasets.images.sequences import ImageSequences
from equissl.datasets.images.whole import whole_images
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.pictures import TILE, strip


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
            data_uri(strip([wholes[i], *batch.images[i], *(() if small is None else small[i])])),
            _caption(dataset, row),
        )
        for i, row in enumerate(rows)
    ]


def _caption(dataset: ImageSequences, row: int) -> str:
    label = int(dataset.store.labels[row])
    return dataset.store.classes[label] if label >= 0 else "without label"
