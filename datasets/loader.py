"""Loader of batches, by one order that all processes share."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from equissl.datasets.addressed import Address, AddressedDataset, own_sampler, start_method
from equissl.datasets.samplers import Sampler, Shuffled
from equissl.util.processes import one_thread_environment


class ViewLoader:
    """Loader that yields one epoch of :class:`ViewBatch` each time it is iterated, then moves on to the next.

    All ranks share one order of the objects, the sampler's. Batch k of the run is one slice of
    ``batch_size · world_size`` objects, of which each rank takes its part: together the ranks see exactly the batch
    that one process with the whole batch size would see, and all see equally many.

    Args:
        dataset: what to load; `SweepPairs` gives batches of pairs of sweeps in the same way.
        batch_size: objects (or pairs) a rank takes per batch.
        workers: processes that read ahead; 0 reads in this process.
        shuffle: a new order each epoch, from (dataset seed, epoch).
        rank, world_size: this process among all.
        drop_last: leave out the last, smaller batch. Kept, it is filled up from the start of the order to a multiple of
            ``world_size``.
        pin_memory: page-locked batches for faster copies to a GPU.
        sampler: order of an epoch; None takes the data set's own attribute ``sampler``, and without one visits each
            item once, shuffled or not.

    Raises:
        ValueError: when not even one batch would come, or a last batch is kept that the sampler does not have.
    """

    def __init__(
        self,
        dataset: AddressedDataset,
        batch_size: int,
        workers: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
        pin_memory: bool = False,
        sampler: Sampler | None = None,
    ) -> None:
        if batch_size < 1 or workers < 0 or not 0 <= rank < world_size:
            got = f"batch_size={batch_size}, workers={workers}, rank={rank}, world_size={world_size}"
            raise ValueError(f"expected batch_size >= 1, workers >= 0 and 0 <= rank < world_size, got {got}")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.rank, self.world_size, self.drop_last = rank, world_size, drop_last
        self.joined = batch_size * world_size
        self.sampler = sampler or own_sampler(dataset) or Shuffled(len(dataset), dataset.seed, shuffle)
        if self.sampler.whole_batches and not drop_last:
            raise ValueError(f"{type(self.sampler).__name__} has no last, smaller batch: expected drop_last=True")
        if not len(self):
            split = f"split {dataset.split!r} of {dataset.store.path}"
            raise ValueError(
                f"expected at least batch_size · world_size = {self.joined} {dataset.items} in {split}, "
                f"got {len(dataset)}: take a smaller batch or drop_last=False"
            )
        self.epoch = 0
        self._first = 0  # batch at which the next iteration starts
        self._done = 0  # batches handed out in the current epoch
        self._loader: DataLoader = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=_Addresses(self),
            num_workers=workers,
            collate_fn=_identity,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread,
            multiprocessing_context=start_method(dataset, workers),
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch, equal on all ranks."""
        whole, rest = divmod(self.sampler.count(self.joined), self.joined)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        self._advance()
        self._done = self._first
        with one_thread_environment():
            batches = iter(self._loader)
        for batch in batches:
            self._done += 1
            yield batch
        self._done = len(self)
        self._advance()

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` next; within the current epoch a restored position is kept."""
        self._advance()
        if epoch != self.epoch:
            self.epoch, self._first, self._done = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the consumer's position; a new loader that loads it continues with the next batch."""
        finished = self._done >= len(self)
        return {"epoch": self.epoch + finished, "batch": 0 if finished else self._done, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batch at which ``state`` was taken.

        Raises:
            ValueError: when the order of batches would differ: other data, seed or joined batch size.
        """
        expected = self._identity()
        if wrong := {name: state.get(name) for name, value in expected.items() if state.get(name) != value}:
            raise ValueError(f"expected the state of a loader with {expected}, got {wrong}")
        self.epoch, self._first = state["epoch"], state["batch"]
        self._done = self._first

    def addresses(self) -> Iterator[list[Address]]:
        """Return this rank's (epoch, index) of the batches still to come in this epoch."""
        visits = self.sampler.visits(self.epoch, self.joined)
        for start in range(self._first * self.joined, len(self) * self.joined, self.joined):
            part = visits[start : start + self.joined]
            part = np.concatenate([part, np.resize(visits, (-len(part) % self.world_size, 2))])
            share = len(part) // self.world_size
            yield [(int(n), int(i)) for n, i in part[self.rank * share : (self.rank + 1) * share]]

    def visits(self, batches: int) -> int:
        """Count the visits, over all ranks, in the first ``batches`` batches of a run."""
        epochs, rest = divmod(batches, len(self))
        # a last batch that is kept is filled up to a multiple of the processes
        whole = -(-self.sampler.count(self.joined) // self.world_size) * self.world_size
        return epochs * min(whole, len(self) * self.joined) + rest * self.joined

    def _advance(self) -> None:
        if self._done >= len(self):
            self.epoch, self._first, self._done = self.epoch + 1, 0, 0

    def _identity(self) -> dict[str, Any]:
        return {
            "objects": len(self.dataset),
            "views": self.dataset.views,
            "seed": self.dataset.seed,
            "joined_batch_size": self.joined,
            "shuffle": int(self.shuffle),
            **self.sampler.identity(),
        }


class _Addresses:
    """The loader's addresses as a batch sampler.

    Neither it nor its iterator holds the loader: in a cycle, the worker processes would be ended by the garbage
    collector, which closes their pipes first and then waits ten seconds for them.
    """

    def __init__(self, loader: ViewLoader) -> None:
        self.loader = weakref.proxy(loader)

    def __iter__(self) -> Iterator[list[Address]]:
        return iter(list(self.loader.addresses()))

    def __len__(self) -> int:
        return len(self.loader)


def _identity(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
