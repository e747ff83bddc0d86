"""Section ``data`` of runs on interactions."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.datasets.config import DataConfig


@dataclass(kw_only=True)
class InteractionsData(DataConfig):
    """Interactions of users with items, and the random views of a user's sequence.

    The shares are those of the release of MCLRec (arXiv 2306.03448); crop 1, mask 0 and reorder 0 leave a sequence as
    it is.

    Attributes:
        store: CSV file with columns user, item and time, MovieLens' ``ratings.dat``, ``u.data`` or ``ratings.csv``, or
            a folder with one of them.
        core: users and items with fewer interactions are left out, until none is left.
        crop: share of a sequence that a crop keeps.
        mask: share of its items that a masked view hides.
        reorder: share of it, in one piece, that a reordered view shuffles.
    """

    store: str
    core: int = 5
    crop: float = 0.5
    mask: float = 0.5
    reorder: float = 0.8
