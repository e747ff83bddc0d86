"""Histories: the items of each user in the order of time, after the k-core filter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.interactions.files import InteractionsError, Table, read_table

HELD_OUT = 2  # the last item of each user is for testing, the one before it for validation
FEWEST = HELD_OUT + 2  # of a user: one item to predict another from, and those held out


@dataclass(frozen=True)
class Histories:
    """Items of U users, each user's in the order of time.

    Attributes:
        path: file they came from.
        users: (U,) names, sorted.
        items: (N,) names, sorted; item n of a history is ``items[n - 1]``, and 0 is none.
        flat: (R,) int64 in 1..N, of one user after the other.
        starts: (U + 1,) where each user begins in ``flat``.
    """

    path: Path
    users: np.ndarray
    items: np.ndarray
    flat: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def of(self, user: int) -> np.ndarray:
        """Return the items of one user, oldest first."""
        return self.flat[self.starts[user] : self.starts[user + 1]]

    @property
    def catalogue(self) -> int:
        """Number of 63 bits that stands for the names of the items."""
        digest = hashlib.sha256("\n".join(self.items.tolist()).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


def read_histories(path: str | Path, core: int = 5) -> Histories:
    """Read interactions, and keep the k-core of them.

    Equal times keep the order of the file; an item that a user has had twice is there twice.

    Args:
        path: see `equissl.datasets.interactions.files.read_table`.
        core: k: users and items with fewer interactions are left out, until none is left.

    Raises:
        FileNotFoundError, InteractionsError: as `read_table`; a core below 4, or one of which nothing is left.
    """
    if core < FEWEST:
        raise InteractionsError(f"expected core of at least {FEWEST}: two items are held out of each user, got {core}")
    table = read_table(path)
    kept = core_of(table, core)
    if not kept.any():
        raise InteractionsError(f"{table.path}: nothing is left of {len(kept)} interactions with core {core}")
    users, owner = np.unique(table.users[kept], return_inverse=True)
    items, item = np.unique(table.items[kept], return_inverse=True)
    order = np.lexsort((table.times[kept], owner))  # stable: equal times stay in the order of the file
    starts = np.concatenate([[0], np.bincount(owner).cumsum()])
    return Histories(table.path, users, items, item[order].astype(np.int64) + 1, starts)


def core_of(table: Table, core: int) -> np.ndarray:
    """Return which interactions (R,) are in the k-core: all of users and items that keep at least k of them.

    Args:
        table: all interactions.
        core: k.
    """
    owners = [np.unique(names, return_inverse=True)[1] for names in (table.users, table.items)]
    kept = np.ones(len(table.times), bool)
    while True:
        enough = [np.bincount(owner[kept], minlength=owner.max() + 1)[owner] >= core for owner in owners]
        smaller = kept & enough[0] & enough[1]
        if smaller.sum() == kept.sum():
            return kept
        kept = smaller
