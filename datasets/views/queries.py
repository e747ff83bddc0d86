"""Similarity queries: three views, and which two of them are most alike (SIRL, arXiv 2301.00810).

The paper asks people, and simulates them by the pair with the smallest distance of its true features; here these are
attributes of views known from their latents. A query shows views of three different objects, so that the answers teach
one measure for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from equissl.datasets.addressed import Address
from equissl.datasets.sampling import choose_views, mix
from equissl.datasets.views.attributes import attribute_points
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.dataset import assemble_batch
from equissl.datasets.views.store.store import ViewStore

SHOWN = 3
_TAG = 0x51121  # keeps this choice apart from those of views and of objects
_ODD_OF_PAIR = np.array([2, 1, 0])  # of the pairs (0, 1), (0, 2) and (1, 2)


@dataclass(frozen=True)
class QuerySpec:
    """Settings of the similarity queries that a run learns from.

    Attributes:
        about: attribute by which an oracle answers: ``pose``, ``floor_hue``, ``light_hue``, ``light`` (direction), or
            several joined by ``+``.
        count: how many queries the oracle answers; more keep the first ones.
        answers: CSV file of a person's answers, in place of the oracle, as `equissl queries` writes it to fill in.
    """

    about: str = "pose"
    count: int = 1000
    answers: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected at least one query, got count={self.count}")


@dataclass(frozen=True)
class Queries:
    """Views shown in Q queries.

    Attributes:
        objects: (Q, 3) indices of objects in their store.
        views: (Q, 3) view of each.
    """

    objects: np.ndarray
    views: np.ndarray

    def __len__(self) -> int:
        return len(self.objects)

    def answered(self, odd: np.ndarray) -> Queries:
        """Return the queries with the two that are alike first and the odd one out last.

        Args:
            odd: (Q,) column of the odd one out.
        """
        columns = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[odd]
        return Queries(*(np.take_along_axis(table, columns, axis=1) for table in (self.objects, self.views)))


def draw_queries(objects: np.ndarray, num_views: int, count: int, seed: int) -> Queries:
    """Draw queries of views of three different objects each, uniformly; more keep the first ones.

    Args:
        objects: (N,) indices to draw from.
        num_views: views of each object.
        count: how many queries.
        seed: of the draw.

    Raises:
        ValueError: for fewer than three objects.
    """
    if len(objects) < SHOWN:
        raise ValueError(f"a query shows views of {SHOWN} objects, got {len(objects)}")
    rows, columns = np.arange(count), np.arange(SHOWN)
    chosen = choose_views(seed, np.full(count, _TAG), rows, SHOWN, len(objects))
    views = mix(seed, _TAG, 1, rows[:, None], columns) % np.uint64(num_views)
    return Queries(objects[chosen], views.astype(np.int64))


def find_odd(queries: Queries, store: ViewStore, about: str) -> np.ndarray:
    """Answer as an oracle: find the column (Q,) that does not belong to the closest pair.

    Args:
        queries: what is shown.
        store: of the views.
        about: attribute that the oracle compares, see :func:`attribute_points`.
    """
    latents = torch.from_numpy(store.latents[queries.objects, queries.views])
    points = attribute_points(latents, store.schema, about)
    pairs = [(points[:, a] - points[:, b]).square().sum(-1) for a, b in ((0, 1), (0, 2), (1, 2))]
    return _ODD_OF_PAIR[torch.stack(pairs, dim=1).argmin(dim=1).numpy()]


class QueryDataset(Dataset):
    """Answered queries, each item three views: two that are alike, then the odd one out.

    The views of an item are of three objects; its label and its object are those of the first.

    Args:
        store: of the views.
        queries: answered.
        split: which part of the store they are of.
        seed: of the order.
    """

    items = "queries"
    views = SHOWN

    def __init__(self, store: ViewStore, queries: Queries, split: str | None = "train", seed: int = 0) -> None:
        self.store, self.queries, self.split, self.seed = store, queries, split, seed

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, address: Address) -> ViewBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        rows = np.array([index for _, index in addresses])
        objects, views = self.queries.objects[rows], self.queries.views[rows]
        images = self.store.read_images((objects * self.store.num_views + views).ravel())
        images = images.view(*views.shape, *images.shape[1:])
        latents, first = self.store.latents[objects, views], objects[:, 0]
        return assemble_batch(images, latents, self.store.labels[first], self.store.schema, first, views)
