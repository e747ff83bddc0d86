"""Image sources: real and imitated files, damaged ones, and sequences as a store."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.datasets.images.formats import open_images
from equissl.datasets.images.sequences import open_sequences, write_sequences
from equissl.datasets.images.sources import ImagesError, ImageSource
from equissl.datasets.views.dataset import ViewDataset
from equissl.datasets.views.store.store import ViewStore


def test_real_images(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data/cifar10_subset/test.tar.xz") as archive:
        members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(("1.jpg", "1.png"))]
        for member in members:
            target = tmp_path / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())
    found = open_images(tmp_path, "val")
    assert len(found) == len(members) and pixels(found).shape[1:] == (3, 32, 32) and len(found.classes) == 10
    assert found.classes[:2] == ("airplane", "automobile") and torch.bincount(found.labels).min() > 0
    name = sorted(m.name for m in members)[0]
    assert np.array_equal(pixels(found)[0].permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / name)))


def pixels(source: ImageSource) -> torch.Tensor:
    found = source.read(np.arange(len(source)))
    assert isinstance(found, torch.Tensor)
    return found


def folder(root: Path, split: str, sizes: tuple[int, ...] = (16, 16, 16)) -> None:
    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / split / label).mkdir(parents=True)
        for number, size in enumerate(sizes):
            noise = generator.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(noise).save(root / split / label / f"{number}.png")


def test_cifar_and_stl_binaries(tmp_path: Path) -> None:
    made = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    labels = np.array([3, 0, 1, 1], np.uint8)
    ten, hundred, stl = (tmp_path / name for name in ("ten", "hundred", "stl"))
    for place in (ten, hundred, stl):
        place.mkdir()
    np.concatenate([labels[:, None], made.reshape(4, -1)], 1).tofile(ten / "test_batch.bin")
    (ten / "batches.meta.txt").write_text("a\nb\nc\nd\n")
    found = open_images(ten, "val")
    assert torch.equal(pixels(found), torch.from_numpy(made)) and found.labels.tolist() == [3, 0, 1, 1]
    assert found.classes == ("a", "b", "c", "d")
    coarse = np.full((4, 1), 9, np.uint8)
    np.concatenate([coarse, labels[:, None], made.reshape(4, -1)], 1).tofile(hundred / "train.bin")
    found = open_images(hundred, "train", val_fraction=0)
    assert found.labels.tolist() == [3, 0, 1, 1] and torch.equal(pixels(found), torch.from_numpy(made))
    assert found.classes[3] == "class_3"
    big = np.random.default_rng(1).integers(0, 256, (2, 3, 96, 96), np.uint8)
    np.ascontiguousarray(big.transpose(0, 1, 3, 2)).tofile(stl / "train_X.bin")  # columns first
    np.array([1, 10], np.uint8).tofile(stl / "train_y.bin")
    found = open_images(stl, "train", val_fraction=0)
    assert torch.equal(pixels(found), torch.from_numpy(big)) and found.labels.tolist() == [0, 9]
    np.ascontiguousarray(big.transpose(0, 1, 3, 2)).tofile(stl / "unlabeled_X.bin")
    plain = open_images(stl, "unlabeled")
    assert (
        not plain.labelled and plain.labels.tolist() == [-1, -1] and torch.equal(pixels(plain), torch.from_numpy(big))
    )


def test_damaged_and_absent(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="found no folder"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImagesError, match=r"stl10: train_X\.bin.*found nothing"):
        open_images(tmp_path / "empty", "val")
    folder(tmp_path / "torn", "train")
    file = tmp_path / "torn/train/cat/1.png"
    file.write_bytes(file.read_bytes()[:60])
    torn = open_images(tmp_path / "torn", val_fraction=0)  # nothing is decoded yet
    with pytest.raises(ImagesError, match=r"cat/1\.png: cannot be decoded"):
        torn.read(np.arange(2))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/test_batch.bin").write_bytes(b"0" * 5000)
    with pytest.raises(ImagesError, match="records of 3073 bytes, found 5000"):
        open_images(tmp_path / "cut", "val")
    with pytest.raises(ImagesError, match=r"split 'train' in .*found val \(cifar10\)"):
        open_images(tmp_path / "cut", "train")


@pytest.mark.parametrize(("form", "options"), [("augmentations", {}), ("saccades", {"patch": 8, "inhibition": 3})])
def test_sequences_as_a_store(form: str, options: dict, tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder(tmp_path / "images", split)
    store = ViewStore(write_sequences(tmp_path / "images", tmp_path / "views.h5", form, views=3, options=options))
    assert store.num_objects == 12 and store.num_views == 3 and store.classes == ("cat", "dog")
    assert store.split.tolist() == [0] * 6 + [1] * 6 and store.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert torch.equal(store.rotations(), torch.eye(3, dtype=torch.float64).expand(12, 3, 3, 3))
    if form == "augmentations":
        options = {"policy_options": {"last": None}}
    data = open_sequences(form, tmp_path / "images", "train", 3, **options)
    direct = data.__getitems__([(0, 4)])
    assert torch.equal(store.read_images(np.arange(12, 15)), direct.images[0])
    batch = ViewDataset(store, "val", views=2)[(0, 1)]
    assert batch.schema == data.schema and torch.equal(batch.rotations, torch.eye(3).expand(1, 2, 3, 3))
    images = torch.from_numpy(store.latents[6:9])
    assert not torch.equal(images, torch.from_numpy(store.latents[:3]))  # other draws than the training images'
