"""Random views of a sequence of items: crop, mask and reorder (Xie et al., CL4SRec, arXiv 2010.14395)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RandomViews:
    """Random views, each by one of the three operations, all equally likely.

    Attributes:
        token: number that stands for a hidden item.
        crop: share of the sequence that a crop keeps, at least one item.
        mask: share of the items that are hidden.
        reorder: share of the sequence, in one piece, that is shuffled.

    Raises:
        ValueError: for shares outside of 0..1, or a crop of nothing.
    """

    token: int
    crop: float = 0.5
    mask: float = 0.5
    reorder: float = 0.8

    def __post_init__(self) -> None:
        shares = (self.crop, self.mask, self.reorder)
        if not all(0 <= share <= 1 for share in shares) or self.crop == 0:
            raise ValueError(f"expected crop above 0, mask and reorder of at least 0, all at most 1, got {shares}")

    def draw(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a view of a sequence.

        Args:
            items: (T,), at least one.
            rng: of this view.
        """
        operations: tuple[Callable[..., np.ndarray], ...] = (self.cropped, self.masked, self.reordered)
        return operations[rng.integers(len(operations))](items, rng)

    def cropped(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Keep one piece of the sequence.

        Args:
            items: (T,).
            rng: where it is from.
        """
        return items[_piece(len(items), max(1, int(self.crop * len(items))), rng)]

    def masked(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Hide some of the items.

        Args:
            items: (T,).
            rng: which ones.
        """
        found = items.copy()
        found[rng.permutation(len(items))[: int(self.mask * len(items))]] = self.token
        return found

    def reordered(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shuffle one piece of the sequence.

        Args:
            items: (T,).
            rng: which piece, and its new order.
        """
        found, piece = items.copy(), _piece(len(items), int(self.reorder * len(items)), rng)
        found[piece] = rng.permutation(items[piece])
        return found


def _piece(length: int, size: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(length - size + 1))
    return slice(start, start + size)
