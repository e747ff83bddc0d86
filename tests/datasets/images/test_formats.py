"""Formats of images: real and made files, damaged ones, and that nothing is decoded before it is asked for."""

from __future__ import annotations

import gzip
import pickle
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from equissl.datasets.images import sources
from equissl.datasets.images.decoding import decode_file
from equissl.datasets.images.formats import FORMATS, find_format, open_images
from equissl.datasets.images.formats.plain_pickle import read_plain_pickle
from equissl.datasets.images.sources import ImageFiles, ImagesError, ImageSource, StoredImages


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def everything(source: ImageSource) -> Tensor:
    found = source.read(np.arange(len(source)))
    assert isinstance(found, Tensor)
    return found


def save(file: Path, pixels: np.ndarray, **options) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **options)


def write_pickles(root: Path, protocol: int, kind: str = "cifar10") -> np.ndarray:
    """The pickles of CIFAR with 4 images a file; returns all training images, then those of validation."""
    root.mkdir(parents=True)
    names = {"cifar10": [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], "cifar100": ["train", "test"]}[kind]
    key = {"cifar10": b"labels", "cifar100": b"fine_labels"}[kind]
    images = noise(len(names), 4, 3072)
    for name, batch in zip(names, images, strict=True):
        with (root / name).open("wb") as file:
            pickle.dump({b"data": batch, key: [3, 1, 0, 2], b"batch_label": b"x"}, file, protocol)
    meta = {"cifar10": ("batches.meta", b"label_names"), "cifar100": ("meta", b"fine_label_names")}[kind]
    with (root / meta[0]).open("wb") as file:
        pickle.dump({meta[1]: [b"a", b"b", b"c", b"d"], b"num_vis": 3072}, file, protocol)
    return images.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_pickles_of_cifar(kind: str, protocol: int, tmp_path: Path) -> None:
    home = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[kind]
    images = write_pickles(tmp_path / home, protocol, kind)
    train, val = open_images(tmp_path, "train"), open_images(tmp_path / home, "val", kind)
    assert np.array_equal(everything(train), images[:-4]) and np.array_equal(everything(val), images[-4:])
    assert train.classes == ("a", "b", "c", "d") and val.labels.tolist() == [3, 1, 0, 2] and train.size == (32, 32)


def test_python_2_pickles_are_read(tmp_path: Path) -> None:
    """The opcodes of cifar-10-batches-py: texts without encoding, and the array's state by BUILD."""
    text = (
        b"(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\n"
        b"Rp7\n(I1\n(I2\nI3\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\n"
        b"tp14\nbI00\nS'abcdef'\np15\ntp16\nbsS'labels'\np17\n(lp18\nI4\naI7\nas."
    )
    (tmp_path / "batch").write_bytes(text)
    found, oracle = read_plain_pickle(tmp_path / "batch"), pickle.loads(text, encoding="bytes")
    assert np.array_equal(found[b"data"], oracle[b"data"])
    assert found[b"data"].tolist() == [[97, 98, 99], [100, 101, 102]] and found[b"labels"] == [4, 7]


class Harmful:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm"),))


def test_pickles_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pickles(tmp_path / "data", 2)
    with (tmp_path / "data/test_batch").open("wb") as file:
        pickle.dump({b"data": Harmful(), b"labels": []}, file)
    with pytest.raises(ImagesError, match=r"test_batch: expected a pickle of plain arrays.*could run code"):
        open_images(tmp_path / "data", "val")
    assert not (tmp_path / "harm").exists()
    (tmp_path / "data/test_batch").write_bytes(b"not a pickle")
    with pytest.raises(ImagesError, match="expected a pickle of plain arrays"):
        open_images(tmp_path / "data", "val")
    for wrong in (noise(4, 3072).astype(np.float32), noise(3, 3072), b"text"):
        with (tmp_path / "data/test_batch").open("wb") as file:
            pickle.dump({b"data": wrong, b"labels": [0, 1, 2, 3]}, file)
        with pytest.raises(ImagesError, match=r"test_batch: expected"):
            open_images(tmp_path / "data", "val")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    write_pickles(tmp_path / "data", 2)
    (tmp_path / "data/data_batch_3").unlink()
    with pytest.raises(ImagesError, match="expected data_batch_3 beside data_batch_1"):
        open_images(tmp_path / "data")


def write_idx(file: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(header + values.tobytes())


def test_mnist(tmp_path: Path) -> None:
    images, labels = noise(12, 28, 28), np.arange(12, dtype=np.uint8) % 10
    for name, chosen in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        write_idx(tmp_path / f"MNIST/raw/{name}-images-idx3-ubyte", images[chosen])
        write_idx(tmp_path / f"MNIST/raw/{name}-labels-idx1-ubyte", labels[chosen])
    train, val = (open_images(tmp_path, split) for split in ("train", "val"))
    assert find_format(tmp_path).name == "mnist" and train.size == (28, 28) and len(train) == 8
    assert torch.equal(everything(val), torch.from_numpy(images[8:, None]).expand(-1, 3, -1, -1))
    assert val.labels.tolist() == [8, 9, 0, 1] and val.classes == tuple("0123456789")
    file = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ImagesError, match="expected 3136 bytes"):
        open_images(tmp_path, "val")


def test_real_digits_are_divided(shared: Path) -> None:
    train, val = (open_images(shared / "data/mnist_t10k", split, val_fraction=0.2) for split in ("train", "val"))
    assert len(train) + len(val) == 10_000 and abs(len(val) - 2000) <= 5 and train.classes == val.classes
    counts = torch.bincount(train.labels, minlength=10) + torch.bincount(val.labels, minlength=10)
    raw = gzip.decompress((shared / "data/mnist_t10k/t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert counts.tolist() == np.bincount(np.frombuffer(raw, np.uint8)).tolist()
    again = open_images(shared / "data/mnist_t10k", "val", val_fraction=0.2)
    assert torch.equal(again.labels, val.labels) and torch.equal(everything(again)[:50], everything(val)[:50])


def test_real_photographs_are_not_decoded_when_opened(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(shared / "data/cifar10_subset/test.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    decoded: list[str] = []

    def count(file: Path) -> Tensor:
        decoded.append(file.name)
        return decode_file(file)

    monkeypatch.setattr(sources, "decode_file", count)
    val = open_images(tmp_path, "val")
    assert len(val) == 2000 and len(val.classes) == 10 and not decoded
    assert torch.bincount(val.labels).tolist() == [200] * 10
    images = val.read(np.array([5, 1999]))
    assert isinstance(images, Tensor) and images.shape == (2, 3, 32, 32) and len(decoded) == 2
    name = sorted(file.name for file in (tmp_path / "test/airplane").iterdir())[5]
    assert np.array_equal(images[0].permute(1, 2, 0), np.asarray(Image.open(tmp_path / "test/airplane" / name)))


def test_images_of_several_sizes_and_formats(tmp_path: Path) -> None:
    exact = {"png": noise(20, 30, 3), "bmp": noise(30, 20, 3, seed=1), "tiff": noise(9, 9, 3, seed=2)}
    for suffix, pixels in exact.items():
        save(tmp_path / f"a/x.{suffix}", pixels)
    save(tmp_path / "b/gray.png", noise(12, 14, seed=3))
    save(tmp_path / "b/alpha.png", noise(12, 14, 4, seed=4))
    save(tmp_path / "b/deep/photo.JPG", noise(40, 30, 3, seed=5), quality=95)
    Image.fromarray(noise(10, 11, seed=6).astype(np.int32) * 257).convert("I;16").save(tmp_path / "b/deep.png")
    (tmp_path / "b/notes.txt").write_text("not an image")
    (tmp_path / "empty").mkdir()
    source = open_images(tmp_path, val_fraction=0)
    assert isinstance(source, ImageFiles | sources.ImageSubset) and source.size is None
    assert source.classes == ("a", "b") and source.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    found = source.read(np.arange(7))
    assert isinstance(found, list) and all(image.shape[0] == 3 and image.dtype == torch.uint8 for image in found)
    for image, suffix in zip(found, ("bmp", "png", "tiff"), strict=False):
        assert np.array_equal(image.permute(1, 2, 0), exact[suffix]), suffix
    alpha, photo, deep, gray = found[3:]
    assert np.array_equal(alpha.permute(1, 2, 0), noise(12, 14, 4, seed=4)[..., :3])
    assert np.array_equal(gray, np.broadcast_to(noise(12, 14, seed=3), (3, 12, 14)))
    assert np.array_equal(deep, np.broadcast_to(noise(10, 11, seed=6), (3, 10, 11))) and photo.shape == (3, 40, 30)


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_photographs_are_upright(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    image.paste((255, 255, 255), (0, 0, 8, 8))  # top left, as stored
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    image.save(tmp_path / f"x.{suffix}", exif=exif)
    found = decode_file(tmp_path / f"x.{suffix}")
    assert found.shape == (3, 30, 20) and found[:, 4, 15].min() > 200 and found[:, 4, 4].max() < 50


def test_splits_of_folders(tmp_path: Path) -> None:
    for split, names in (("train", "abc"), ("test", "ab"), ("unlabeled", "")):
        for name in names or [""]:
            save(tmp_path / split / name / "1.png", noise(8, 8, 3))
    assert open_images(tmp_path).labels.tolist() == [0, 1, 2]
    assert open_images(tmp_path, "val").classes == ("a", "b", "c")
    assert not open_images(tmp_path, "unlabeled").labelled
    save(tmp_path / "test/d/1.png", noise(8, 8, 3))
    with pytest.raises(ImagesError, match=r"expected the training classes in .*test, found d too"):
        open_images(tmp_path, "val")
    save(tmp_path / "train/loose.png", noise(8, 8, 3))
    with pytest.raises(ImagesError, match=r"images or folders of classes in .*found loose\.png beside a/"):
        open_images(tmp_path)


def test_images_without_labels_are_divided_too(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / f"{i:02}.png", np.full((8, 8, 3), i, np.uint8))
    train, val = (open_images(tmp_path, split, val_fraction=0.25) for split in ("train", "val"))
    assert (len(train), len(val)) == (15, 5) and not val.labelled and val.labels.tolist() == [-1] * 5
    values = torch.cat([everything(train)[:, 0, 0, 0], everything(val)[:, 0, 0, 0]])
    assert sorted(values.tolist()) == list(range(20))
    with pytest.raises(ImagesError, match=r"split 'val'.*val_fraction 0 holds out none"):
        open_images(tmp_path, "val", val_fraction=0)
    with pytest.raises(ImagesError, match=r"split 'unlabeled' in .*found train \(folder\)"):
        open_images(tmp_path, "unlabeled")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_damaged_files_are_named_when_they_are_read(suffix: str, tmp_path: Path) -> None:
    save(tmp_path / f"a/good.{suffix}", noise(40, 40, 3))
    file = tmp_path / f"a/bad.{suffix}"
    shutil.copy(tmp_path / f"a/good.{suffix}", file)
    source = open_images(tmp_path, val_fraction=0)
    for damaged in (b"", b"no image at all", file.read_bytes()[:100]):
        file.write_bytes(damaged)
        with pytest.raises(ImagesError, match=rf"a/bad\.{suffix}: cannot be decoded"):
            source.read(np.array([0, 1]))
    file.unlink()
    with pytest.raises(ImagesError, match=rf"a/bad\.{suffix}: cannot be decoded"):
        source.read(np.array([0]))


def test_stored_images_need_labels_for_each() -> None:
    with pytest.raises(ImagesError, match=r"expected 3 labelled images, got shape \(2, 3, 8, 8\)"):
        StoredImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3).long(), ("a",), Path("x"))


def test_formats_by_name(tmp_path: Path) -> None:
    assert list(FORMATS)[-1] == "folder"  # after those that are told by the names of their files
    with pytest.raises(ImagesError, match=r"did you mean 'cifar10'"):
        open_images(tmp_path, format="cifar-10")
    save(tmp_path / "a/1.png", noise(8, 8, 3))
    with pytest.raises(ImagesError, match=r"expected images in .*stl10: train_X\.bin.*found a"):
        open_images(tmp_path, format="stl10")
