"""View stores as images: each stored view is one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import find_format, open_images
from equissl.datasets.images.open import inflate, open_form, open_source
from equissl.datasets.images.sources import ImagesError
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.store.store import ViewStore
from equissl.runs import load_config
from equissl.training import pretrain
from equissl.training.data import refuse_other_kind
from equissl.util.runfolder import CONFIG_FILE


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


LIVE = LiveSpec("procedural", objects=24, size=16, val_fraction=0.5, seed=3)


def test_live_views_beside_stored_ones_are_fresh_in_every_epoch(tmp_path: Path) -> None:
    """A store of the same seed shows, as its first two views, what the first two epochs show."""
    spec = BuildSpec("procedural", objects=24, size=16, val_fraction=0.5, seed=3, views=2, encoding="raw")
    build_views(spec, tmp_path / "a.h5", 0, False)
    stored = ViewStore(tmp_path / "a.h5")
    data = ImagesData(root=str(stored.path), live=LIVE, replicate=2, seed=3)
    real = open_source(data)
    images, sampler = inflate(data, real, seed=0)
    objects = stored.select("train")
    assert sampler is not None and sampler.generated == len(objects) == len(images) - len(real) == len(real) // 2
    assert images.labels[len(real) :].tolist() == stored.labels[objects].tolist() and images.size == (16, 16)
    rows, epochs = len(real) + np.array([5, 0, 5]), np.array([0, 1, 1])
    expected = stored.read_images(2 * objects[[5, 0, 5]] + epochs)
    assert torch.equal(images.visited(rows, epochs), expected) and not torch.equal(expected[0], expected[2])
    assert torch.equal(images.read(rows[:1]), expected[:1])
    dataset = open_form(ImagesData(policy="none", size=16), images, 1, 0)
    assert dataset.start_method == "forkserver"  # as loaders of live views start
    addresses = [(1, int(rows[1])), (0, 2)]
    expected = torch.stack([expected[1], real.read(np.array([2]))[0]])
    assert torch.equal(dataset.__getitems__(addresses).images[:, 0], expected)


def test_generated_images_are_of_one_kind(store: ViewStore) -> None:
    data = ImagesData(root=str(store.path), generated=str(store.path), live=LIVE)
    with pytest.raises(ValueError, match=r"expected data\.generated or data\.live, got both"):
        inflate(data, open_source(data), 0)


def test_live_views_are_settings_of_a_run(tmp_path: Path) -> None:
    build_views(BuildSpec("procedural", objects=24, size=16, views=2, seed=3), tmp_path / "a.h5", 0, False)
    words = ["--data.live.meshes", "procedural", "--data.live.objects=24", "--data.live.size=16", "--data.size=16"]
    words += ["--data.generated=", f"--data.root={tmp_path / 'a.h5'}", "--data.batch_size=4"]
    small = ["--method.init_args.encoder.width=4", "--trainer.max_steps=2", "--trainer.precision=32"]
    run = pretrain(load_config("cifar10_adainf", [*words, *small]), tmp_path / "run")
    saved = load_config(run / CONFIG_FILE)
    assert saved.data.live == LiveSpec("procedural", objects=24, size=16) and saved.data.replicate == 10
