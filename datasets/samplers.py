"""Samplers: the order in which an epoch visits the items of a data set.

A visit is an address (number, index): the number tells apart the visits of one item, which draws other views each time.
Orders are functions of (seed, epoch) alone, so all ranks share them.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod

import numpy as np

from equissl.datasets.sampling import epoch_order


class Sampler(ABC):
    """Order of the visits of an epoch.

    Attributes:
        whole_batches: True where every batch is whole, so that there is no last, smaller one to keep.
    """

    whole_batches = False

    @abstractmethod
    def count(self, batch: int) -> int:
        """Count the visits of an epoch.

        Args:
            batch: visits in one batch of all ranks together.
        """

    @abstractmethod
    def visits(self, epoch: int, batch: int) -> np.ndarray:
        """Order the visits of an epoch; a batch of all ranks together is the next ``batch`` of them.

        Args:
            epoch: number of the epoch.
            batch: visits in one such batch.

        Returns:
            (`count`, 2) int64 addresses (number, index).
        """

    def identity(self) -> dict[str, float]:
        """Return what tells this order from another one of as many items and the same seed."""
        return {}


class Shuffled(Sampler):
    """Each item once an epoch.

    Args:
        count: number of items.
        seed: of the order.
        shuffle: False keeps the order of the data set.
    """

    def __init__(self, count: int, seed: int, shuffle: bool = True) -> None:
        self.items, self.seed, self.shuffle = count, seed, shuffle

    def count(self, batch: int) -> int:
        return self.items

    def visits(self, epoch: int, batch: int) -> np.ndarray:
        return _addresses(epoch, epoch_order(self.seed, epoch, self.items, self.shuffle))


class Inflated(Sampler):
    """Real items several times an epoch among generated ones (AdaInf: Wang et al., ICLR 2024).

    The paper's: an epoch is the list of ``replicate`` copies of the real items and all generated ones, in random order.
    Shares are exact: ``r N / (r N + M)`` of the visits are real. Ours: copies of an item are visits of their own, which
    draw other views; and a fraction of a copy, which is another choice of the real items each epoch.

    Args:
        real: number N of real items, which come first in the data set.
        generated: number M of generated items, which come after them.
        replicate: copies r of the real items, at least 1.
        seed: of the order.

    Raises:
        ValueError: no real items, or fewer than one copy of them.
    """

    def __init__(self, real: int, generated: int, replicate: float = 1.0, seed: int = 0) -> None:
        if real < 1 or generated < 0:
            raise ValueError(f"expected at least 1 real item and 0 generated ones, got {real} and {generated}")
        if not 1 <= replicate < float("inf"):
            raise ValueError(f"expected replicate, the copies of the real items, of at least 1, got {replicate}")
        self.real, self.generated, self.replicate, self.seed = real, generated, replicate, seed
        self.real_visits = round(replicate * real)

    @property
    def real_share(self) -> float:
        """Share of the visits that are real."""
        return self.real_visits / (self.real_visits + self.generated)

    def count(self, batch: int) -> int:
        return self.real_visits + self.generated

    def visits(self, epoch: int, batch: int) -> np.ndarray:
        copies, rest = divmod(self.real_visits, self.real)
        some = np.random.default_rng([self.seed, epoch, 1]).permutation(self.real)[:rest]
        indices = np.concatenate([np.tile(np.arange(self.real), copies), some])
        copy = np.arange(self.real_visits) // self.real
        real = np.stack([epoch * (copies + (rest > 0)) + copy, indices], axis=1)
        generated = _addresses(epoch, self.real + np.arange(self.generated))
        order = epoch_order(self.seed, epoch, self.count(batch), shuffle=True)
        return np.concatenate([real, generated])[order].astype(np.int64)

    def identity(self) -> dict[str, float]:
        return {"real": self.real, "replicate": self.replicate}


def replicate_for(real: int, generated: int, share: float) -> float:
    """Compute the copies of the real items by which they are a share of the visits of `Inflated`.

    Args:
        real, generated: numbers of items.
        share: in (0, 1).

    Raises:
        ValueError: a share outside of (0, 1), or one that is smaller than that of a single copy.
    """
    least = real / (real + generated)
    if not least <= share < 1:
        raise ValueError(
            f"expected a share of real items from {least:.4g} ({real} beside {generated} generated ones) to below 1, "
            f"got {share}"
        )
    return share * generated / ((1 - share) * real)


class GroupBatches(Sampler):
    """Batches whose items are all of one group: negatives of the anchor's own group alone (MCL).

    Zhang et al., ECCV 2024. The paper's: items are shuffled within their group, groups take turns with one batch each,
    a group that has run out is passed over, and the tail of a group that fills no batch is left out of this epoch. A
    batch is that of all ranks together, and all ranks share one order.

    Args:
        groups: (N,) group of each item.
        seed: of the order.

    Raises:
        ValueError: groups that are not (N,) integers.
    """

    whole_batches = True

    def __init__(self, groups: np.ndarray, seed: int = 0) -> None:
        if groups.ndim != 1 or not np.issubdtype(groups.dtype, np.integer):
            raise ValueError(f"expected groups (N,) of integers, got {groups.dtype} {groups.shape}")
        self.groups, self.seed = groups, seed
        _, self.sizes = np.unique(groups, return_counts=True)

    def count(self, batch: int) -> int:
        return int((self.sizes // batch).sum()) * batch

    def visits(self, epoch: int, batch: int) -> np.ndarray:
        order = epoch_order(self.seed, epoch, len(self.groups), shuffle=True)
        members = order[np.argsort(self.groups[order], kind="stable")]  # shuffled within each group
        parts = np.split(members, np.cumsum(self.sizes)[:-1])
        whole = [part[: len(part) // batch * batch].reshape(-1, batch) for part in parts]
        turns = range(max((len(part) for part in whole), default=0))
        rows = [part[turn] for turn in turns for part in whole if turn < len(part)]
        return _addresses(epoch, np.concatenate(rows) if rows else np.empty(0, np.int64))

    def identity(self) -> dict[str, float]:
        return {"groups": zlib.crc32(np.ascontiguousarray(self.groups, dtype=np.int64).tobytes())}


def _addresses(epoch: int, indices: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(indices), epoch, np.int64), indices.astype(np.int64)], axis=1)
