"""View stores as images: each stored view is one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import find_format, open_images
from equissl.datasets.images.open import inflate, open_source
from equissl.datasets.images.sources import ImagesError
from equissl.datasets.views.store.store import ViewStore
from equissl.training.data import refuse_other_kind


@pytest.fixture
def store(tmp_path: Path) -> ViewStore:
    return ViewStore(write_synthetic_store(tmp_path / "a.h5", objects=10, views=3, size=8, val_fraction=0.3))


def test_views_of_a_split_object_by_object(store: ViewStore) -> None:
    assert find_format(store.path).name == "views"
    for split, number in (("train", 0), ("val", 1)):
        objects = np.flatnonzero(store.split == number)
        images = open_images(store.path, split)
        assert len(images) == 3 * len(objects) and images.size == (8, 8) and images.classes == store.classes
        assert images.labels.tolist() == np.repeat(store.labels[objects], 3).tolist()
        row = np.array([4, 0])
        assert torch.equal(images.read(row), store.read_images(np.array([3 * objects[1] + 1, 3 * objects[0]])))


def test_rendered_views_are_generated_images(store: ViewStore, tmp_path: Path) -> None:
    other = ViewStore(write_synthetic_store(tmp_path / "b.h5", objects=6, views=2, size=8, val_fraction=0))
    data = ImagesData(root=str(store.path), generated=str(other.path), replicate=2)
    real = open_source(data)
    images, sampler = inflate(data, real, seed=0)
    assert sampler is not None and sampler.real_visits == 2 * len(real) == 6 * (store.split == 0).sum()
    assert len(images) == len(real) + 12 and images.wholly_labelled and images.classes == store.classes
    assert torch.equal(images.read(np.array([len(real) + 3])), other.read_images(np.array([3])))


def test_the_kind_images_takes_a_store_of_views(store: ViewStore, tmp_path: Path) -> None:
    refuse_other_kind(str(store.path), "images")
    with pytest.raises(ImagesError, match="views"):
        open_images(tmp_path / "absent.h5")
