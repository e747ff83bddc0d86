"""The batches of a run: one endless stream, at any position of which a run can start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from equissl.datasets.batch import ViewBatch
from equissl.datasets.loader import ViewDataset, ViewLoader
from equissl.training.config import PretrainConfig


class EndlessViews:
    """Epoch after epoch of a :class:`ViewLoader`, without a pause between epochs and from any batch on.

    Small stores have epochs of a few batches; an iterator that ended with each epoch would empty the workers' queues
    every time. Position is counted in batches from the start of the run, so it needs no state of its own.

    Args:
        loader: one process' part of the batches.
        workers: processes that read ahead.
        pin_memory: page-locked batches, for faster copies to a GPU.
    """

    def __init__(self, loader: ViewLoader, workers: int = 0, pin_memory: bool = False) -> None:
        self.loader = loader
        self.first = 0
        self._batches = DataLoader(
            loader.dataset,
            batch_sampler=_Addresses(self),
            num_workers=workers,
            collate_fn=_same,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread,
        )

    def seek(self, batches: int) -> None:
        """The next iteration starts after that many batches of the run."""
        self.first = batches

    def __iter__(self) -> Iterator[ViewBatch]:
        # starting a DataLoader draws from torch's generator: it must not change what the method draws
        with torch.random.fork_rng(devices=[]):
            return iter(self._batches)

    def addresses(self) -> Iterator[list[tuple[int, int]]]:
        """(epoch, index) of each item, batch by batch, for ever."""
        epoch, batch = divmod(self.first, len(self.loader))
        self.loader.load_state_dict({**self.loader.state_dict(), "epoch": epoch, "batch": batch})
        while True:
            yield from self.loader.addresses()
            epoch += 1
            self.loader.set_epoch(epoch)


class _Addresses:
    def __init__(self, views: EndlessViews) -> None:
        self.views = views

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.views.addresses()


def make_views(config: PretrainConfig, dataset: ViewDataset, rank: int, world_size: int) -> EndlessViews:
    """This process' part of the training batches.

    Raises:
        ValueError: batch size not a multiple of the number of processes, or larger than the split.
    """
    size = config.data.batch_size
    if size % world_size:
        raise ValueError(f"expected data.batch_size to be a multiple of the {world_size} processes, got {size}")
    loader = ViewLoader(dataset, batch_size=size // world_size, rank=rank, world_size=world_size)
    return EndlessViews(loader, config.data.workers, pin_memory=torch.cuda.is_available())


def open_dataset(config: PretrainConfig, views: int) -> ViewDataset:
    """The training split of the config's store."""
    seed = config.seed if config.data.seed is None else config.data.seed
    return ViewDataset(config.data.store, split="train", views=views, seed=seed)


def _same(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
