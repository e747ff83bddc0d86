"""Samplers: exact shares, one group a batch, and one order for all ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.loader import ViewLoader
from equissl.datasets.samplers import GroupBatches, Inflated, Sampler, Shuffled, replicate_for
from equissl.datasets.views.dataset import ViewDataset

SAMPLERS: list[Sampler] = [
    Shuffled(23, 1),
    Inflated(10, 7, 2.5, 1),
    GroupBatches(np.arange(23) % 3, 1),
]


def order(sampler: Sampler, epoch: int = 0, batch: int = 4) -> list[tuple[int, int]]:
    return [(int(n), int(i)) for n, i in sampler.visits(epoch, batch)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ViewDataset:
    folder = tmp_path_factory.mktemp("samplers")
    return ViewDataset(write_synthetic_store(folder / "a.h5", objects=23, views=9, size=8, val_fraction=0))


class TestAll:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_count_is_that_of_the_visits_and_no_address_comes_twice(self, sampler: Sampler) -> None:
        found = [address for epoch in range(4) for address in order(sampler, epoch)]
        assert len(found) == len(set(found)) == 4 * sampler.count(4)

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_an_epoch_is_the_same_again_and_another_one_is_not(self, sampler: Sampler) -> None:
        assert order(sampler) == order(sampler)
        assert [i for _, i in order(sampler)] != [i for _, i in order(sampler, 1)]


class TestInflated:
    def test_golden_share(self) -> None:
        """CIFAR-10 with 1 M generated images: ten copies are exactly a third, one copy is a twenty-first."""
        assert Inflated(50_000, 1_000_000, 10).real_share == 1 / 3
        assert Inflated(50_000, 1_000_000).real_share == 1 / 21

    @pytest.mark.parametrize(("real", "generated", "replicate"), [(10, 7, 1), (10, 7, 3), (5, 20, 4), (6, 9, 1.5)])
    def test_shares_are_exact_in_every_epoch(self, real: int, generated: int, replicate: float) -> None:
        sampler = Inflated(real, generated, replicate, seed=3)
        for epoch in range(3):
            indices = sampler.visits(epoch, 8)[:, 1]
            counts = np.bincount(indices, minlength=real + generated)
            assert len(indices) == replicate * real + generated and counts[:real].sum() == replicate * real
            assert set(counts[real:]) == {1} and counts[:real].max() - counts[:real].min() <= 1
            assert (indices < real).mean() == sampler.real_share

    def test_a_fraction_of_a_copy_is_another_choice_each_epoch(self) -> None:
        sampler = Inflated(40, 0, 1.5)
        twice = [frozenset(np.flatnonzero(np.bincount(sampler.visits(e, 8)[:, 1]) == 2)) for e in range(4)]
        assert len(set(twice)) == 4 and all(len(choice) == 20 for choice in twice)

    def test_without_generated_items_and_copies_it_is_the_ordinary_order(self) -> None:
        assert order(Inflated(23, 0, 1, seed=1), 2) == order(Shuffled(23, 1), 2)

    def test_many_copies_leave_real_items_alone(self) -> None:
        assert Inflated(10, 10, 1e6).real_share == pytest.approx(1, abs=1e-5)

    def test_share_gives_the_copies(self) -> None:
        assert replicate_for(50_000, 1_000_000, 1 / 3) == pytest.approx(10)
        assert Inflated(10, 30, replicate_for(10, 30, 0.5)).real_share == 0.5
        for share in (0.2, 1.0):
            with pytest.raises(ValueError, match=r"from 0\.25 \(10 beside 30"):
                replicate_for(10, 30, share)

    @pytest.mark.parametrize(("real", "generated", "replicate"), [(0, 1, 1), (1, -1, 1), (1, 1, 0.5), (1, 1, np.nan)])
    def test_impossible_numbers(self, real: int, generated: int, replicate: float) -> None:
        with pytest.raises(ValueError, match="expected"):
            Inflated(real, generated, replicate)


class TestGroups:
    def test_one_group_is_the_ordinary_order_of_whole_batches(self) -> None:
        assert order(GroupBatches(np.zeros(23, int), 1), 2) == order(Shuffled(23, 1), 2)[:20]

    @pytest.mark.parametrize("batch", [1, 2, 4, 6])
    def test_each_batch_is_of_one_group_and_the_count_is_that_of_whole_ones(self, batch: int) -> None:
        groups = np.random.default_rng(0).permutation(np.repeat([0, 3, 9, 4], [13, 2, 22, 7]))
        sampler = GroupBatches(groups, 5)
        found = groups[sampler.visits(0, batch)[:, 1]].reshape(-1, batch)
        assert (found == found[:, :1]).all()
        assert sampler.count(batch) == len(found) * batch == sum(size // batch for size in (13, 2, 22, 7)) * batch

    def test_groups_take_turns(self) -> None:
        groups = np.repeat([0, 1, 2], [8, 2, 6])
        assert groups[GroupBatches(groups).visits(0, 2)[::2, 1]].tolist() == [0, 1, 2, 0, 2, 0, 2, 0]

    def test_the_tail_that_is_left_out_is_another_one_each_epoch(self) -> None:
        sampler = GroupBatches(np.zeros(11, int))
        left = [frozenset(range(11)) - set(sampler.visits(epoch, 4)[:, 1]) for epoch in range(4)]
        assert len(set(left)) > 1 and {len(tail) for tail in left} == {3}

    def test_groups_of_one_item_have_no_batch_of_two(self) -> None:
        assert GroupBatches(np.arange(9)).count(2) == 0 and GroupBatches(np.arange(9)).visits(0, 2).shape == (0, 2)

    def test_groups_that_are_none(self) -> None:
        with pytest.raises(ValueError, match="expected groups"):
            GroupBatches(np.zeros((2, 3), int))


class TestLoader:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_ranks_divide_the_batches_of_one_process(self, data: ViewDataset, sampler: Sampler) -> None:
        """Defect of the release of MCL: its ranks permuted apart, so that items came twice and others never."""
        whole = list(ViewLoader(data, 4, sampler=sampler).addresses())
        ranks = [list(ViewLoader(data, 2, rank=r, world_size=2, sampler=sampler).addresses()) for r in range(2)]
        assert whole == [a + b for a, b in zip(*ranks, strict=True)] and len(whole) == sampler.count(4) // 4

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_a_position_is_found_again(self, data: ViewDataset, sampler: Sampler) -> None:
        loader = ViewLoader(data, 4, sampler=sampler)
        batches = iter(loader)
        next(batches), next(batches)
        again = ViewLoader(data, 4, sampler=sampler)
        again.load_state_dict(loader.state_dict())
        for expected, batch in zip(batches, again, strict=True):
            assert torch.equal(expected.images, batch.images)

    def test_copies_show_other_views(self, data: ViewDataset) -> None:
        addresses = [address for address in order(Inflated(23, 0, 4)) if address[1] == 5]
        batch = data.__getitems__(addresses)
        assert set(batch.objects.tolist()) == {int(data.objects[5])}
        assert len({tuple(views) for views in batch.views.tolist()}) > 1

    def test_another_order_is_not_continued(self, data: ViewDataset) -> None:
        state = ViewLoader(data, 4, sampler=GroupBatches(np.arange(23) % 3)).state_dict()
        with pytest.raises(ValueError, match="'groups'"):
            ViewLoader(data, 4, sampler=GroupBatches(np.arange(23) % 2)).load_state_dict(state)

    def test_visits_are_counted_over_epochs(self, data: ViewDataset) -> None:
        loader = ViewLoader(data, 4, sampler=Inflated(23, 0, 2))
        assert [loader.visits(n) for n in (0, 3, 11, 12)] == [0, 12, 44, 48]

    def test_groups_have_no_last_smaller_batch(self, data: ViewDataset) -> None:
        with pytest.raises(ValueError, match="drop_last=True"):
            ViewLoader(data, 4, drop_last=False, sampler=GroupBatches(np.zeros(23, int)))
