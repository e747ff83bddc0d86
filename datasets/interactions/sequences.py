"""Sequences of items to train on and to be tested on, addressed by (epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.interactions.augmentations import RandomViews
from equissl.datasets.interactions.history import Histories

Address = tuple[int, int]  # (epoch, index)
SPLITS = {"train": 2, "val": 1, "test": 0}  # how many of a user's last items are not there


@dataclass(frozen=True)
class InteractionBatch:
    """Sequences of B users, filled up with 0 behind their last item.

    Attributes:
        items: (B, L) int64 item numbers in 1..N; 0 is none.
        targets: (B, L) the item after each of those to learn or test; 0 elsewhere.
        views: (B, V, L) random views of the sequences; V is 0 where the method asks for none.
        users: (B,) indices of the users.
    """

    items: Tensor
    targets: Tensor
    views: Tensor
    users: Tensor

    def __post_init__(self) -> None:
        if self.items.ndim != 2 or self.items.shape != self.targets.shape:
            shapes = f"{tuple(self.items.shape)} and {tuple(self.targets.shape)}"
            raise ValueError(f"expected items and targets of one shape (B, L), got {shapes}")

    def __len__(self) -> int:
        return len(self.items)

    def _map(self, function: Callable[[Tensor], Tensor]) -> InteractionBatch:
        return replace(self, **{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> InteractionBatch:
        """Return the same batch on ``device``.

        Args:
            device: to move to.
            non_blocking: do not wait for the copy.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> InteractionBatch:
        return self._map(lambda tensor: tensor.pin_memory())


class InteractionSequences(Dataset):
    """One sequence of each user, of the last ``length`` items.

    ``train`` has every next item as a target, and leaves out the user's last two; ``val`` has the last but one as the
    only target, ``test`` the last one, each after all items before it.

    Args:
        histories: of all users.
        split: ``train``, ``val`` or ``test``.
        length: items of a sequence, at most.
        seed: of the random views. View v of an item has the SeedSequence [seed, epoch, index, v].
        views: how many random views to draw of each sequence.
        policy: that draws them.

    Raises:
        ValueError: another split, or a length below 1.
    """

    items = "users"
    views = 1  # sequences that count as seen

    def __init__(
        self,
        histories: Histories,
        split: str = "train",
        length: int = 50,
        seed: int = 0,
        views: int = 0,
        policy: RandomViews | None = None,
    ) -> None:
        if split not in SPLITS or length < 1:
            raise ValueError(f"expected split in {list(SPLITS)} and length of at least 1, got {split!r} and {length}")
        self.store, self.length, self.seed, self.drawn = histories, length, seed, views
        self.split: str | None = split
        self.policy = policy or RandomViews(len(histories.items) + 1)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, address: Address) -> InteractionBatch:
        """Return one sequence, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> InteractionBatch:
        """Return the batch of sequences at ``addresses``, a list of (epoch, index); L is that of the longest."""
        pieces = [self._piece(index) for _, index in addresses]
        drawn = [self._draw(piece, *address) for piece, address in zip(pieces, addresses, strict=True)]
        views = [view for of_user in drawn for view in of_user]
        longest = max(len(items) for items in [*(piece[:-1] for piece in pieces), *views])
        return InteractionBatch(
            _filled([piece[:-1] for piece in pieces], longest),
            _filled([self._targets(piece) for piece in pieces], longest),
            _filled(views, longest).view(len(pieces), self.drawn, longest),
            torch.tensor([index for _, index in addresses]),
        )

    def _piece(self, user: int) -> np.ndarray:
        """Return the sequence with the last target behind it."""
        history = self.store.of(user)
        return history[: len(history) - SPLITS[str(self.split)]][-(self.length + 1) :]

    def _targets(self, piece: np.ndarray) -> np.ndarray:
        if self.split == "train":
            return piece[1:]
        return np.where(np.arange(len(piece) - 1) == len(piece) - 2, piece[1:], 0)

    def _draw(self, piece: np.ndarray, epoch: int, index: int) -> list[np.ndarray]:
        """Draw the views, of the whole sequence with its last target: nothing held out is in it while training."""
        return [
            self.policy.draw(piece[-self.length :], np.random.default_rng([self.seed, epoch, index, view]))
            for view in range(self.drawn)
        ]


def _filled(sequences: Sequence[np.ndarray], length: int) -> Tensor:
    table = np.zeros((len(sequences), length), np.int64)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(table)
