"""Batches of a run: one endless stream, which can start at any position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from equissl.datasets.addressed import AddressedDataset, own_sampler, start_method
from equissl.datasets.groups import GroupedItems, GroupsError, read_groups
from equissl.datasets.loader import ViewLoader
from equissl.datasets.samplers import GroupBatches, Sampler, Shuffled
from equissl.kinds import KINDS
from equissl.methods import Method
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.util.processes import one_thread_environment


class EndlessBatches:
    """Stream of the batches of a `ViewLoader`, without a pause between epochs and from any batch on.

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
        self._batches: DataLoader = DataLoader(
            loader.dataset,  # type: ignore[arg-type]
            batch_sampler=_Addresses(self),
            num_workers=workers,
            collate_fn=_same,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread,
            multiprocessing_context=start_method(loader.dataset, workers),
        )

    def seek(self, batches: int) -> None:
        """Start the next iteration after that many batches of the run."""
        self.first = batches

    def items(self, batches: int) -> int:
        """Return the number of items, over all processes, in the first ``batches`` batches of the run."""
        return self.loader.visits(batches)

    def __iter__(self) -> Iterator[Any]:
        # starting a DataLoader draws from torch's generator: it must not change what the method draws
        with torch.random.fork_rng(devices=[]), one_thread_environment():
            return iter(self._batches)

    def addresses(self) -> Iterator[list[tuple[int, int]]]:
        """Yield (epoch, index) of each item, batch by batch, for ever."""
        epoch, batch = divmod(self.first, len(self.loader))
        self.loader.load_state_dict({**self.loader.state_dict(), "epoch": epoch, "batch": batch})
        while True:
            yield from self.loader.addresses()
            epoch += 1
            self.loader.set_epoch(epoch)


class _Addresses:
    def __init__(self, batches: EndlessBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.batches.addresses()


def make_batches(config: PretrainConfig, dataset: AddressedDataset, rank: int, world_size: int) -> EndlessBatches:
    """Create this process' part of the training batches.

    Args:
        config: batch size, over all processes, and loader processes.
        dataset: what to load.
        rank, world_size: this process among all.

    Raises:
        ConfigError: batch size not a multiple of the number of processes, larger than the split, or one that leaves a
            last batch of one item.
    """
    size, last = config.data.batch_size, config.data.drop_last
    if size % world_size:
        raise ConfigError(f"expected data.batch_size to be a multiple of the {world_size} processes, got {size}")
    sampler = own_sampler(dataset) or Shuffled(len(dataset), dataset.seed)
    _check_size(dataset, sampler, size, last)
    part = size // world_size
    loader = ViewLoader(dataset, part, rank=rank, world_size=world_size, drop_last=last, sampler=sampler)
    return EndlessBatches(loader, config.data.workers, pin_memory=torch.cuda.is_available())


def _check_size(dataset: AddressedDataset, sampler: Sampler, size: int, drop_last: bool) -> None:
    """Refuse a batch size by which a pass has no batch, or one of a single item."""
    held = f"{len(dataset)} {dataset.items} in split {dataset.split!r} of {dataset.store.path}"
    if drop_last and sampler.count(size) < size:
        raise ConfigError(
            f"expected at least data.batch_size = {size}, got {held}: take --data.batch_size {max(len(dataset), 1)} or "
            "less, or --data.drop_last false"
        )
    if not drop_last and sampler.count(size) % size == 1:
        raise ConfigError(
            f"data.drop_last false with data.batch_size {size} leaves a last batch of one, of which batch norm has no "
            f"statistics; got {held}: take another --data.batch_size"
        )


def open_dataset(config: PretrainConfig, method: Method, split: str | None = "train") -> AddressedDataset:
    """Open one split of a run's data.

    Args:
        config: resolved.
        method: that learns from it.
        split: ``train``, ``val``, or None for all.

    Raises:
        ConfigError: data of another kind, or settings that do not fit the method.
    """
    kind = KINDS[config.data.kind]
    refuse_other_kind(kind.location(config.data), kind.name)
    dataset = kind.open(config, method, split)
    return restricted(dataset, config, method) if split in ("train", None) else dataset


def restricted(dataset: Any, config: PretrainConfig, method: Method) -> AddressedDataset:
    """Restrict a training set to batches, or to negatives, of one group, where the config names groups.

    Args:
        dataset: to train on.
        config: with or without ``data.groups``.
        method: that learns from it.

    Raises:
        ConfigError: groups of another data set, too small for a batch, or that nothing would look at.
    """
    data, objective = config.data, method.objective
    asked = objective is not None and "group_ids" in objective.needs
    if asked != data.group_mask or (data.group_mask and data.groups is None):
        needs = "an objective that needs groups" if asked else "one that does not"
        raise ConfigError(
            "expected data.group_mask with data.groups for an objective that needs groups (group_nt_xent), and for no "
            f"other; got group_mask {data.group_mask}, groups {data.groups!r} and {needs}"
        )
    if data.groups is None:
        return dataset
    try:
        groups = read_groups(data.groups, len(dataset))
    except GroupsError as error:
        raise ConfigError(str(error)) from error
    if data.group_mask:
        return cast(AddressedDataset, GroupedItems(dataset, groups))
    if own_sampler(dataset) is not None:
        raise ConfigError("expected data.groups without copies of items or generated ones: both order an epoch")
    if not data.drop_last:
        raise ConfigError("expected data.drop_last with data.groups: the tail of a group is no batch, got false")
    dataset.sampler = GroupBatches(groups, dataset.seed)
    largest, size = int(dataset.sampler.sizes.max()), data.batch_size
    if largest < size:
        raise ConfigError(
            f"expected a group of at least data.batch_size = {size} {dataset.items} in {data.groups}, the largest of "
            f"its {len(dataset.sampler.sizes)} has {largest}: take a smaller batch, or fewer clusters"
        )
    return dataset


def refuse_other_kind(path: str, expected: str) -> None:
    """Raise ConfigError where the data are certainly of another kind than the expected one.

    Args:
        path: store or folder; an empty one, or one of no known kind, is let through.
        expected: name of a kind.
    """
    if not path or KINDS[expected].accepts(Path(path)):
        return
    for other in KINDS.values():
        if other.recognises(Path(path)):
            raise ConfigError(f"data.kind is {expected!r}: expected {KINDS[expected].source}; {path} is {other.source}")


def _same(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
