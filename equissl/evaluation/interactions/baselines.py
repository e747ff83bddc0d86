"""Recommenders that need no learning: popularity, and what came after the last item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from equissl.datasets.interactions.history import HELD_OUT, Histories

Recommender = Callable[[Tensor], Tensor]  # last items (n,) in 1..N to scores (n, N)


def recommenders(histories: Histories) -> dict[str, Recommender]:
    """Make ``popularity``, how often training has an item, and ``last_item``, how often right after the last item.

    Ties of the latter, such as items that never came after it, go by popularity.

    Args:
        histories: of all users; the items held out are not counted.
    """
    size = len(histories.items)
    rows = [histories.of(user)[:-HELD_OUT] - 1 for user in range(len(histories))]
    seen = np.bincount(np.concatenate(rows), minlength=size)
    before, after = (np.concatenate([row[part] for row in rows]) for part in (slice(None, -1), slice(1, None)))
    following = coo_matrix((np.ones(len(before)), (before, after)), (size, size)).tocsr()
    popular = torch.from_numpy(seen).double()

    def popularity(last: Tensor) -> Tensor:
        return popular.expand(len(last), -1)

    def last_item(last: Tensor) -> Tensor:
        counts = torch.from_numpy(following[last.numpy() - 1].toarray())
        return counts + popular / (popular.max() + 1)  # below 1: decides between equal counts alone

    return {"popularity": popularity, "last_item": last_item}
