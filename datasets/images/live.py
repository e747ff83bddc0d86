"""Images that are rendered as they are asked for, another view of each object in every epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.sources import ImageSource
from equissl.datasets.views.live.views import LiveViews


class LiveImages(ImageSource):
    """One image of each object: in epoch e the view that is numbered e.

    Args:
        views: one view of each object.
    """

    start_method = LiveViews.start_method

    def __init__(self, views: LiveViews) -> None:
        labels = torch.from_numpy(views.store.labels[views.objects])
        super().__init__(labels, views.store.classes, views.store.path)
        self.views, self.size = views, (views.spec.size, views.spec.size)

    def read(self, rows: np.ndarray) -> Tensor:
        return self.visited(rows, np.zeros_like(rows))

    def visited(self, rows: np.ndarray, epochs: np.ndarray) -> Tensor:
        batch = self.views.__getitems__(list(zip(epochs.tolist(), rows.tolist(), strict=True)))
        return batch.images[:, 0].cpu()  # where they are augmented
