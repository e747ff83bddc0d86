"""Groups of items: mixed-radix numbers of the stages' labels, their files, and batches that hold them."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.groups import GroupedItems, GroupsError, mixed_radix, read_groups, read_stages, write_groups
from equissl.datasets.loader import ViewLoader
from equissl.datasets.views.dataset import ViewDataset


def test_mixed_radix_by_hand() -> None:
    labels = np.array([[0, 0, 0], [0, 0, 1], [1, 2, 4], [1, 0, 0]])
    assert mixed_radix(labels, [2, 3, 5]).tolist() == [0, 1, 29, 15]


def test_groups_are_those_of_all_stages() -> None:
    """Defect of the release: its number is a multiple of the last label, so that it has K groups and never K^S."""
    labels = np.array(list(itertools.product(range(4), repeat=3)))
    groups = mixed_radix(labels, [4, 4, 4])
    assert sorted(groups) == list(range(64))
    coarse = mixed_radix(labels[:, :2], [4, 4])
    assert (groups // 4 == coarse).all()  # a stage refines the groups before


@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        (np.zeros(3, int), [2], "labels"),
        (np.zeros((3, 2), int), [2], "labels"),
        (np.zeros((3, 1)), [2], "labels"),
        (np.full((3, 1), 2), [2], "below"),
        (np.full((3, 1), -1), [2], "from 0"),
        (np.zeros((3, 7), int), [1000] * 7, "2\\^63"),
    ],
)
def test_labels_that_are_none(labels: np.ndarray, clusters: list[int], message: str) -> None:
    with pytest.raises(GroupsError, match=message):
        mixed_radix(labels, clusters)


def test_files(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, 0], [1, 1]])
    write_groups(tmp_path / "g.npz", labels, [2, 3], step=7, part="all")
    found, clusters, facts = read_stages(tmp_path / "g.npz")
    assert (found == labels).all() and clusters == [2, 3] and facts == {"step": 7, "part": "all"}
    assert read_groups(tmp_path / "g.npz", 3).tolist() == [1, 3, 4]
    np.save(tmp_path / "own.npy", np.array([5, 5, 6], np.int16))
    assert read_groups(tmp_path / "own.npy", 3).tolist() == [5, 5, 6]


def test_files_that_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.zeros(3))
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "other.npz", x=1)
    for name, message in (
        ("own.npy", "each of the 3 items"),
        ("bad.npz", "expected labels of stages"),
        ("other.npz", "expected labels of stages"),
        ("absent.npz", "expected labels of stages"),
        ("absent.npy", "expected an array"),
    ):
        with pytest.raises(GroupsError, match=message):
            read_groups(tmp_path / name, 3)
    write_groups(tmp_path / "g.npz", np.zeros((3, 1), int), [2])
    with pytest.raises(GroupsError, match="each of the 4 items"):
        read_groups(tmp_path / "g.npz", 4)


def test_batches_hold_the_groups_of_their_items(tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "a.h5", objects=9, views=3, size=8, val_fraction=3 / 9)
    groups = np.array([4, 4, 2, 2, 9, 9])
    dataset = GroupedItems(ViewDataset(store), groups)
    positions = {int(index): place for place, index in enumerate(dataset.objects)}
    for loader in (ViewLoader(dataset, 2), ViewLoader(pickle.loads(pickle.dumps(dataset)), 2)):
        batches = list(loader)
        assert len(batches) == 3 and len(loader.dataset) == 6
        for batch in batches:
            assert batch.group_ids.tolist() == [groups[positions[i]] for i in batch.objects.tolist()]
            assert torch.equal(batch.to("cpu").group_ids, batch.group_ids)
    assert dataset[(0, 1)].group_ids.tolist() == [4]
    with pytest.raises(AttributeError):
        _ = dataset.nothing
