"""The last, smaller batch of a pass: left out, or kept as the papers' training scripts keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equissl.datasets.views.config import ViewsData
from equissl.runs import MethodConfig, PretrainConfig, TrainerConfig, read_metrics
from equissl.training import pretrain
from equissl.training.data import EndlessBatches, make_batches


@dataclass
class Numbers:
    """As many items as 3DIEBench has training objects, each its own number."""

    number: int = 41_920
    items, views, split, seed, store = "objects", 2, "train", 0, SimpleNamespace(path="numbers")

    def __len__(self) -> int:
        return self.number

    def __getitems__(self, addresses: list[tuple[int, int]]) -> list[int]:
        return [index for _, index in addresses]


def batches(number: int, size: int, drop_last: bool, rank: int = 0, world_size: int = 1) -> EndlessBatches:
    data = ViewsData(store="", batch_size=size, drop_last=drop_last)
    config = PretrainConfig(MethodConfig("SIE"), data, trainer=TrainerConfig(devices=world_size))
    return make_batches(config, Numbers(number), rank, world_size)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "kept", "last"), [(1024, 41, 960), (256, 164, 192), (512, 82, 448)])
def test_steps_of_an_epoch_of_3diebench(size: int, kept: int, last: int) -> None:
    """The numbers are those of the authors' scripts, which keep the last batch."""
    found = batches(41_920, size, drop_last=False)
    sizes = [len(batch) for batch, _ in zip(found.addresses(), range(kept + 1), strict=False)]
    assert sizes == [size] * (kept - 1) + [last, size]  # and the next epoch begins
    assert len(batches(41_920, size, drop_last=True).loader) == kept - 1


def test_every_item_once_in_an_epoch() -> None:
    found = batches(23, 5, drop_last=False)
    stream = found.addresses()
    for epoch in range(3):
        addresses = [address for _ in range(5) for address in next(stream)]
        assert sorted(index for _, index in addresses) == list(range(23))
        assert {number for number, _ in addresses} == {epoch}


@pytest.mark.parametrize("first", [4, 5, 7])
def test_start_at_any_batch(first: int) -> None:
    found, again = batches(23, 5, drop_last=False), batches(23, 5, drop_last=False)
    whole = [batch for batch, _ in zip(found.addresses(), range(12), strict=False)]
    again.seek(first)
    assert [batch for batch, _ in zip(again.addresses(), range(12 - first), strict=False)] == whole[first:]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("world_size", [1, 2])
def test_items_are_counted(drop_last: bool, world_size: int) -> None:
    ranks = [batches(23, 6, drop_last, rank, world_size) for rank in range(world_size)]
    sizes = [sum(map(len, parts)) for parts, _ in zip(zip(*(r.addresses() for r in ranks), strict=True), range(9))]  # noqa: B905
    for number in range(10):
        assert all(r.items(number) == sum(sizes[:number]) for r in ranks)


def test_a_run_keeps_it(make_config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    config = make_config(max_steps=None, max_epochs=2, log_every=1)
    config = replace(config, data=replace(config.data, batch_size=10, drop_last=False))
    pretrain(config, tmp_path)
    seen = read_metrics(tmp_path)["views_seen"]
    assert seen == [(1, 20), (2, 40), (3, 48), (4, 68), (5, 88), (6, 96)]  # of two views of 10, 10 and 4 of 24 objects


def test_a_store_smaller_than_a_batch_trains_on_the_whole_of_it(
    make_config: Callable[..., PretrainConfig], open_data: Callable[..., Any]
) -> None:
    config, dataset = open_data(make_config(), batch_size=64, drop_last=False)
    batch = next(iter(make_batches(config, dataset, 0, 1)))
    assert torch.equal(batch.objects.sort().values, torch.as_tensor(dataset.objects))
