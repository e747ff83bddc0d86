"""Features of a store's views, and their cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store
from torch import Tensor, nn

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views import features
from equissl.evaluation.views.features import (
    Allocate,
    cached_features,
    extract_features,
    fingerprint,
    load_cache,
    view_quats,
)
from equissl.geometry import geodesic_angle, unitquat_to_rotmat


class Toy(nn.Module):
    """Stands for a method: batch norm that would drift in train mode, and a part that can be spoiled."""

    views = 2

    def __init__(self, spoil: float = 0.0) -> None:
        super().__init__()
        self.norm, self.spoil = nn.BatchNorm1d(3), spoil

    def features(self, images: Tensor) -> dict[str, Tensor]:
        pixels = images.float().mean((2, 3))
        return {"all": self.norm(pixels), "equi": pixels + self.spoil}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    return ViewStore(write_synthetic_store(tmp_path_factory.mktemp("store") / "s.h5", objects=8, views=3, size=8))


def test_every_view_lands_in_its_place(store: ViewStore) -> None:
    objects = store.select("val")
    parts = extract_features(Toy(), store, objects, batch_size=4)
    view = 2
    image = store.read_images(objects[[1]] * store.num_views + view).float().mean((2, 3))
    assert parts["equi"].shape == (len(objects), 3, 3)
    torch.testing.assert_close(parts["equi"][1, view], image[0])
    ahead = extract_features(Toy(), store, objects, batch_size=1, workers=2)
    assert torch.equal(ahead["equi"], parts["equi"])


def test_the_frozen_network_is_unchanged_even_if_it_came_in_train_mode(store: ViewStore) -> None:
    method = Toy().train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    parts = extract_features(method, store, store.select("train"), batch_size=5)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert not method.training
    torch.testing.assert_close(parts, extract_features(method, store, store.select("train"), batch_size=2))


def test_a_part_that_is_not_finite_is_named(store: ViewStore) -> None:
    with pytest.raises(ValueError, match=r"18 of 18 in part 'equi'"):
        extract_features(Toy(float("nan")), store, store.select("val"))
    with pytest.raises(ValueError, match="float16 overflows"):
        extract_features(Toy(1e6), store, store.select("val"), dtype=torch.float16)


def test_poses_are_the_stored_rotations(store: ViewStore) -> None:
    quats = view_quats(store, store.select("val"))
    expected = store.rotations()[torch.from_numpy(store.select("val"))]
    assert float(geodesic_angle(unitquat_to_rotmat(quats), expected).max()) < 1e-7


def test_cache_keeps_bits_and_refuses_other_weights_and_damage(
    store: ViewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, cache = tmp_path / "last.ckpt", tmp_path / "features" / "val.h5"
    checkpoint.write_bytes(b"weights")
    mark = fingerprint(checkpoint, store, precision="32")
    parts = {"all": torch.randn(2, 3, 4), "equi": torch.randn(2, 3, 1)}

    def fill(allocate: Allocate) -> dict[str, Tensor]:
        made = allocate({name: tuple(values.shape) for name, values in parts.items()}, torch.float32)
        return {name: made[name].copy_(values) for name, values in parts.items()}

    written = cached_features(cache, mark, fill)
    for limit in (0, 1 << 30):  # memory-mapped, and read
        monkeypatch.setattr(features, "IN_MEMORY_BYTES", limit)
        loaded = load_cache(cache, mark)
        assert loaded is not None
        assert all(torch.equal(x[name], parts[name]) for name in parts for x in (loaded, written))
    loaded["all"] += 1  # a map is a private copy
    assert torch.equal(load_cache(cache, mark)["all"], parts["all"])
    assert [path.name for path in cache.parent.iterdir()] == ["val.h5"]
    checkpoint.write_bytes(b"other weights")
    assert load_cache(cache, fingerprint(checkpoint, store, precision="32")) is None
    checkpoint.write_bytes(b"weights")
    assert load_cache(cache, fingerprint(checkpoint, store, precision="bf16")) is None
    cache.write_bytes(cache.read_bytes()[:100])
    assert load_cache(cache, mark) is None


def test_fingerprint_sees_other_views(store: ViewStore, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    other = ViewStore(write_synthetic_store(tmp_path / "other.h5", objects=8, views=3, size=8, seed=1))
    assert fingerprint(checkpoint, store) != fingerprint(checkpoint, other)
    assert fingerprint(checkpoint, store) == fingerprint(checkpoint, ViewStore(store.path))


def test_a_split_without_objects_is_an_error(tmp_path: Path) -> None:
    store = ViewStore(write_synthetic_store(tmp_path / "s.h5", objects=4, views=2, size=8, val_fraction=0.0))
    with pytest.raises(ValueError, match="val"):
        store.select("val")
    assert np.array_equal(store.select("train"), np.arange(4))
