from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.loader import ViewLoader
from equissl.datasets.sampling import choose_views, mix
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.dataset import ViewDataset, make_batch
from equissl.datasets.views.store.store import ViewStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    folder = tmp_path_factory.mktemp("loader")
    return ViewStore(write_synthetic_store(folder / "a.h5", objects=27, views=5, size=8, val_fraction=7 / 27))


def same(a: ViewBatch, b: ViewBatch) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("images", "latents", "labels", "objects", "views"))


class TestChoice:
    def test_all_ordered_choices_are_equally_likely(self) -> None:
        views = choose_views(0, np.zeros(60000, int), np.arange(60000), 2, 4)
        counts = np.bincount(views[:, 0] * 4 + views[:, 1], minlength=16).reshape(4, 4)
        assert np.diag(counts).tolist() == [0] * 4
        off = counts[~np.eye(4, dtype=bool)]
        assert ((off - 5000) ** 2 / 5000).sum() < 35  # chi-squared with 11 degrees of freedom, p = 2e-4

    @pytest.mark.parametrize(("chosen", "stored"), [(1, 1), (2, 50), (5, 5), (50, 50), (9, 10)])
    def test_views_are_distinct(self, chosen: int, stored: int) -> None:
        views = choose_views(3, np.arange(200), np.arange(200), chosen, stored)
        assert views.min() >= 0 and views.max() < stored
        assert all(len(set(row)) == chosen for row in views.tolist())

    def test_three_of_three_gives_every_permutation(self) -> None:
        views = choose_views(0, np.zeros(6000, int), np.arange(6000), 3, 3)
        _, counts = np.unique(views, axis=0, return_counts=True)
        assert len(counts) == 6 and counts.min() > 850

    def test_a_row_depends_on_its_own_address_alone(self) -> None:
        epochs, indices = np.array([0, 0, 1, 7]), np.array([5, 6, 5, 123456])
        together = choose_views(9, epochs, indices, 2, 50)
        for row, epoch, index in zip(together, epochs, indices, strict=True):
            assert np.array_equal(choose_views(9, np.array([epoch]), np.array([index]), 2, 50)[0], row)

    def test_seed_epoch_and_index_all_matter(self) -> None:
        one = np.ones(1000, int)
        base = choose_views(0, one, np.arange(1000), 2, 50)
        for other in (choose_views(1, one, np.arange(1000), 2, 50), choose_views(0, one * 2, np.arange(1000), 2, 50)):
            assert (base == other).all(1).mean() < 0.01

    def test_hash_is_order_sensitive_and_uniform(self) -> None:
        assert mix(1, 2) != mix(2, 1)
        bits = (mix(0, np.arange(4096))[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        assert np.abs(bits.mean(0) - 0.5).max() < 0.04


class TestDataset:
    def test_batch_holds_the_views_it_says(self, store: ViewStore) -> None:
        dataset = ViewDataset(store, "train", views=3, seed=4)
        batch = dataset.__getitems__([(2, 7), (0, 1)])
        assert batch.images.shape == (2, 3, 3, 8, 8) and batch.images.dtype == torch.uint8
        for b in range(2):
            for v in range(3):
                index, view = int(batch.objects[b]), int(batch.views[b, v])
                assert torch.equal(batch.images[b, v], store.read_images(np.array([index * 5 + view]))[0])
                assert np.array_equal(batch.latents[b, v].numpy(), store.latents[index, view].astype(np.float32))
                assert torch.equal(batch.rotations[b, v], store.rotations()[index, view].float())
            assert batch.labels[b] == store.labels[index]
        assert store.split[batch.objects.numpy()].tolist() == [0, 0]

    def test_without_images_all_else_is_the_same(self, store: ViewStore) -> None:
        dataset, addresses = ViewDataset(store, views=3, seed=5), [(0, 1), (2, 0), (7, 2)]
        bare, batch = dataset.without_images(addresses), dataset.__getitems__(addresses)
        assert bare.images.shape == (3, 3, 3, 0, 0)
        assert same(replace(batch, images=bare.images), bare)

    def test_one_item_is_a_batch_of_one(self, store: ViewStore) -> None:
        dataset = ViewDataset(store)
        assert same(dataset[(1, 3)], dataset.__getitems__([(1, 3)]))

    def test_translations_come_with_their_schema(self, tmp_path: Path) -> None:
        from equissl.datasets.views.schema import threediebench_t_schema
        from equissl.datasets.views.store.store import write_store

        latents = np.random.default_rng(0).normal(size=(2, 2, 10))
        images = np.zeros((2, 2, 8, 8, 3), np.uint8)
        write_store(tmp_path / "t.h5", images, latents, [0, 0], schema=threediebench_t_schema(), encoding="raw")
        batch = make_batch(ViewStore(tmp_path / "t.h5"), np.array([1]), np.array([[1, 0]]))
        assert np.allclose(batch.translations.numpy(), latents[1, [1, 0], 7:][None])

    def test_fewer_objects_are_among_more_and_the_seed_chooses(self, store: ViewStore) -> None:
        whole = ViewDataset(store, "train").objects.tolist()
        few, more = (ViewDataset(store, "train", seed=1, objects=count).objects.tolist() for count in (3, 7))
        assert len(few) == 3 and len(more) == 7 and set(few) < set(more) < set(whole) and few == sorted(few)
        assert len({tuple(ViewDataset(store, "train", seed=s, objects=3).objects) for s in range(8)}) > 1
        assert ViewDataset(store, "train", objects=len(whole)).objects.tolist() == whole
        for count in (0, len(whole) + 1):
            with pytest.raises(ValueError, match=rf"expected 1 to {len(whole)} objects, got {count}"):
                ViewDataset(store, "train", objects=count)

    def test_too_many_views_names_both_numbers(self, store: ViewStore) -> None:
        with pytest.raises(ValueError, match=r"1 to 5 views .* got views=6"):
            ViewDataset(store, views=6)

    def test_split_without_objects(self, tmp_path: Path) -> None:
        path = write_synthetic_store(tmp_path / "a.h5", 4, 2, 8, val_fraction=0)
        with pytest.raises(ValueError, match="'val'"):
            ViewDataset(path, "val")


class TestLoader:
    def test_an_epoch_visits_each_object_at_most_once_and_order_changes(self, store: ViewStore) -> None:
        loader = ViewLoader(ViewDataset(store), 4)
        epochs = [torch.cat([batch.objects for batch in loader]).tolist() for _ in range(2)]
        assert len(loader) == 5 and all(len(set(epoch)) == 20 for epoch in epochs)
        assert epochs[0] != epochs[1] and loader.epoch == 2

    def test_set_epoch_repeats_an_epoch(self, store: ViewStore) -> None:
        loader = ViewLoader(ViewDataset(store), 4)
        first = list(loader)
        loader.set_epoch(0)
        assert all(same(a, b) for a, b in zip(first, loader, strict=True))
        loader.set_epoch(0)
        next(iter(loader))
        assert same(next(iter(loader)), first[0])  # an abandoned epoch starts over

    def test_without_shuffle_in_storage_order(self, store: ViewStore) -> None:
        loader = ViewLoader(ViewDataset(store, "val"), 3, shuffle=False, drop_last=False)
        assert torch.cat([b.objects for b in loader]).tolist() == store.select("val").tolist()
        assert [len(b) for b in loader] == [3, 3, 1]

    def test_workers_change_nothing(self, store: ViewStore) -> None:
        plain, parallel = (ViewLoader(ViewDataset(store, seed=3), 6, workers=w) for w in (0, 2))
        for _ in range(2):
            assert all(same(a, b) for a, b in zip(plain, parallel, strict=True))

    def test_worker_processes_end_with_their_loader(self, store: ViewStore) -> None:
        loader = ViewLoader(ViewDataset(store), 1, workers=2)
        stream = iter(loader)
        next(stream)
        start = time.monotonic()
        del stream, loader
        assert not multiprocessing.active_children() and time.monotonic() - start < 4

    @pytest.mark.parametrize("drop_last", [True, False])
    def test_ranks_share_each_batch_of_one_process(self, store: ViewStore, drop_last: bool) -> None:
        whole = list(ViewLoader(ViewDataset(store), 6, drop_last=drop_last))
        ranks = [list(ViewLoader(ViewDataset(store), 3, rank=r, world_size=2, drop_last=drop_last)) for r in range(2)]
        assert len(whole) == len(ranks[0]) == len(ranks[1])
        for joined, first, second in zip(whole, *ranks, strict=True):
            assert len(first) == len(second)
            assert torch.equal(torch.cat([first.images, second.images]), joined.images)

    def test_uneven_end_is_filled_so_that_all_ranks_see_as_much(self, store: ViewStore) -> None:
        ranks = [
            list(ViewLoader(ViewDataset(store, "val"), 2, rank=r, world_size=3, drop_last=False)) for r in range(3)
        ]
        assert [[len(b) for b in batches] for batches in ranks] == [[2, 1]] * 3
        assert {int(i) for batches in ranks for b in batches for i in b.objects} == set(store.select("val").tolist())

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("stop", [0, 1, 4, 5, 7])
    def test_resume_continues_with_the_next_batch(self, store: ViewStore, workers: int, stop: int) -> None:
        def endless(loader):  # type: ignore[no-untyped-def]
            while True:
                yield from loader

        straight = ViewLoader(ViewDataset(store), 4)
        expected = [b for b, _ in zip(endless(straight), range(stop + 6), strict=False)][stop:]
        before = ViewLoader(ViewDataset(store), 4, workers=workers)
        stream = endless(before)
        for _ in range(stop):
            next(stream)
        state = before.state_dict()
        after = ViewLoader(ViewDataset(store), 4, workers=workers)
        after.load_state_dict(state)
        after.set_epoch(state["epoch"])  # what a trainer does; must not lose the position
        got = [b for b, _ in zip(endless(after), range(6), strict=False)]
        assert all(same(a, b) for a, b in zip(got, expected, strict=True))

    def test_resume_on_another_number_of_ranks(self, store: ViewStore) -> None:
        one = ViewLoader(ViewDataset(store), 4)
        stream = iter(one)
        next(stream)
        state, expected = one.state_dict(), next(stream)
        ranks = [ViewLoader(ViewDataset(store), 2, rank=r, world_size=2) for r in range(2)]
        for loader in ranks:
            loader.load_state_dict(state)
        assert torch.equal(torch.cat([next(iter(loader)).objects for loader in ranks]), expected.objects)

    def test_a_trainer_that_never_asks_for_the_end_still_moves_on(self, store: ViewStore) -> None:
        loader = ViewLoader(ViewDataset(store), 4)
        stream = iter(loader)
        for _ in range(len(loader)):
            next(stream)
        assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 0)
        next(iter(loader))
        assert loader.epoch == 1

    def test_state_of_other_data_is_refused(self, store: ViewStore) -> None:
        state = ViewLoader(ViewDataset(store), 4).state_dict()
        with pytest.raises(ValueError, match="joined_batch_size"):
            ViewLoader(ViewDataset(store), 5).load_state_dict(state)
        with pytest.raises(ValueError, match="seed"):
            ViewLoader(ViewDataset(store, seed=1), 4).load_state_dict(state)

    def test_no_batch_at_all_is_an_error(self, store: ViewStore) -> None:
        with pytest.raises(ValueError, match=r"batch_size · world_size = 42 objects .* got 20"):
            ViewLoader(ViewDataset(store), 21, world_size=2)
        with pytest.raises(ValueError, match="rank=2"):
            ViewLoader(ViewDataset(store), 4, rank=2, world_size=2)
