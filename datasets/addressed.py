"""Interface of data sets whose items are addressed by (epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from equissl.datasets.samplers import Sampler

Address = tuple[int, int]  # (number of the visit, which is the epoch where each item is visited once, and index)


class AddressedDataset(Protocol):
    """Data set whose items are addressed by (epoch, index) and read a batch at a time.

    Attributes:
        items: what one item is called, in the plural.
        views: how many views or sweeps one item holds.
        split: which part of the store it is.
        seed: of the order.
        store: with the ``path`` it was read from.
    """

    # read only: what a data set declares may be narrower
    @property
    def items(self) -> str: ...

    @property
    def views(self) -> int: ...

    @property
    def split(self) -> str | None: ...

    @property
    def seed(self) -> int: ...

    @property
    def store(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, address: Address) -> Any: ...

    def __getitems__(self, addresses: Sequence[Address]) -> Any: ...


def own_sampler(dataset: AddressedDataset) -> Sampler | None:
    """Return the data set's own order of an epoch, its attribute ``sampler``; None for one without."""
    return getattr(dataset, "sampler", None)


def start_method(dataset: AddressedDataset, workers: int) -> str | None:
    """Return the start method of a data set's loader processes; None for torch's default.

    Args:
        dataset: the data set; its attribute ``start_method`` decides, where it has one.
        workers: number of processes; with 0 there is nothing to start.
    """
    return getattr(dataset, "start_method", None) if workers else None
