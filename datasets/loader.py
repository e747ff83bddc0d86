"""Loader of batches from a view store."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from equissl.datasets.samplers import Sampler, Shuffled
from equissl.datasets.sampling import choose_labelled, choose_objects, choose_views
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import ROTATION, TRANSLATION, LatentSchema
from equissl.datasets.views.store.store import ViewStore
from equissl.geometry import euler_to_rotmat
from equissl.util.processes import one_thread_environment

Address = tuple[int, int]  # (number of the visit, which is the epoch where each item is visited once, and index)


def make_batch(store: ViewStore, objects: np.ndarray, views: np.ndarray) -> ViewBatch:
    """Make the batch of given views.

    Args:
        store: where they are.
        objects: (B,) object indices.
        views: (B, V) view indices of each object.

    Returns:
        Images uint8 (B, V, 3, S, S), channels last in memory; rotations computed in float64 and kept, like the
        latents, as float32.
    """
    objects, views = np.asarray(objects), np.asarray(views)
    latents = store.latents[objects[:, None], views]
    images = store.read_images((objects[:, None] * store.num_views + views).ravel())
    images = images.view(*views.shape, *images.shape[1:])
    return assemble_batch(images, latents, store.labels[objects], store.schema, objects, views)


def assemble_batch(
    images: Tensor,
    latents: np.ndarray,
    labels: np.ndarray,
    schema: LatentSchema,
    objects: np.ndarray,
    views: np.ndarray,
) -> ViewBatch:
    """Assemble the batch of images (B, V, 3, S, S) and their latents.

    Args:
        images: (B, V, 3, S, S).
        latents: (B, V, L) float64, of which the images were rendered.
        labels: (B,) classes of the objects.
        schema: names of the latents' columns.
        objects: (B,) indices of the objects.
        views: (B, V) indices of the views.
    """
    exact = torch.from_numpy(latents)
    turns, moves = (set(names) <= set(schema.names) for names in (ROTATION, TRANSLATION))
    still = torch.eye(3).expand(*views.shape, 3, 3)
    return ViewBatch(
        images=images,
        rotations=euler_to_rotmat(exact[..., schema.columns(*ROTATION)]).float() if turns else still,
        latents=exact.float(),
        labels=torch.from_numpy(labels),
        schema=schema,
        translations=exact[..., schema.columns(*TRANSLATION)].float() if moves else None,
        objects=torch.from_numpy(objects),
        views=torch.from_numpy(views),
    )


def no_images(shape: tuple[int, ...]) -> Tensor:
    """Return images of size 0, for a batch of which only poses and latents are read.

    Args:
        shape: (B, V).
    """
    return torch.empty(*shape, 3, 0, 0, dtype=torch.uint8)


class ViewDataset(Dataset):
    """Objects of one split, each item V distinct ordered views of one object.

    Items are addressed by (epoch, index): the same address gives the same views in any order, process and worker.

    Args:
        store: a store or its path.
        split: ``train``, ``val``, or None for all objects.
        views: V.
        seed: of the choice of views, and of objects.
        objects: so many of the split only, chosen by the seed, fewer among more; None takes all.
        labels: share of the objects of each class, see :func:`equissl.datasets.sampling.choose_labelled`.
        label_seed: of the share.

    Raises:
        ValueError: when V is larger than the views stored, or the split holds fewer objects or none.
        StoreError: see :class:`ViewStore`.
    """

    items = "objects"

    def __init__(
        self,
        store: ViewStore | Path | str,
        split: str | None = "train",
        views: int = 2,
        seed: int = 0,
        objects: int | None = None,
        labels: float = 1.0,
        label_seed: int = 0,
    ) -> None:
        self.store = store if isinstance(store, ViewStore) else ViewStore(store)
        self.split, self.views, self.seed = split, views, seed
        if not 1 <= views <= self.store.num_views:
            stored = self.store.num_views
            raise ValueError(
                f"expected 1 to {stored} views (stored per object in {self.store.path}), got views={views}"
            )
        chosen = choose_objects(self.store.select(split), objects, seed)
        self.objects = chosen[choose_labelled(self.store.labels[chosen], labels, label_seed)]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, address: Address) -> ViewBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        return make_batch(self.store, self.objects[indices], self.choose_views(epochs, indices))

    def without_images(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses`` with images of size 0: poses and latents cost no decoding.

        Args:
            addresses: (epoch, index) of each item.
        """
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        objects, views = self.objects[indices], self.choose_views(epochs, indices)
        latents = self.store.latents[objects[:, None], views]
        return assemble_batch(
            no_images(views.shape), latents, self.store.labels[objects], self.store.schema, objects, views
        )

    def choose_views(self, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Choose the views (B, V) of a batch.

        Args:
            epochs: (B,) epoch of each item.
            indices: (B,) position of each item in the data set.
        """
        return choose_views(self.seed, epochs, indices, self.views, self.store.num_views)


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


def _identity(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
