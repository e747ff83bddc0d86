"""Shares of labels: balanced by class, nested, the seed's alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.open import open_source
from equissl.datasets.sampling import choose_labelled
from equissl.datasets.views.dataset import ViewDataset

LABELS = np.repeat([0, 1, 2], [100, 40, 3])[np.random.default_rng(0).permutation(143)]


@pytest.mark.parametrize(("share", "counts"), [(0.01, [1, 1, 1]), (0.1, [10, 4, 1]), (0.5, [50, 20, 2])])
def test_every_class_gets_its_share_and_at_least_one(share: float, counts: list[int]) -> None:
    chosen = choose_labelled(LABELS, share, seed=3)
    assert np.bincount(LABELS[chosen]).tolist() == counts and (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, choose_labelled(LABELS, share, seed=3))


def test_a_larger_share_keeps_those_of_a_smaller_one() -> None:
    shares = [set(choose_labelled(LABELS, share, 1).tolist()) for share in (0.01, 0.1, 0.5, 1.0)]
    assert all(small < large for small, large in itertools.pairwise(shares))
    assert shares[1] != set(choose_labelled(LABELS, 0.1, 2).tolist())


def test_bad_shares_are_named() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf"\(0, 1\], got {share}"):
            choose_labelled(LABELS, share)
    with pytest.raises(ValueError, match=r"expected labels, to choose a share of 0\.1"):
        choose_labelled(np.full(4, -1), 0.1)


def test_shares_of_objects_and_of_images(tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "views.h5", objects=32, classes=4)
    few = ViewDataset(store, labels=0.5, label_seed=1)
    assert np.bincount(few.store.labels[few.objects]).tolist() == [3, 3, 3, 3]
    for label in ("a", "b"):
        (tmp_path / "images/train" / label).mkdir(parents=True)
        (tmp_path / "images/val" / label).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "images/train" / label / f"{i}.png").touch()
        (tmp_path / "images/val" / label / "0.png").touch()
    data = ImagesData(root=str(tmp_path / "images"), labels=0.2)
    assert torch.bincount(open_source(data).labels).tolist() == [2, 2]
    assert len(open_source(data, "val")) == 2  # what is scored keeps all
