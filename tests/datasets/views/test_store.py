from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl.datasets.views.schema import threediebench_schema
from equissl.datasets.views.store.format import OFFSETS, encode_jpeg
from equissl.datasets.views.store.store import StoreError, ViewStore, write_store
from equissl.util.files import full_disk_message

RNG = np.random.default_rng(0)
N, V, S = 5, 3, 16


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray, list[int]]:
    images = RNG.integers(0, 256, (N, V, S, S, 3), dtype=np.uint8)
    return images, RNG.normal(size=(N, V, 7)), [0, 1, 2, 1, 0]


def test_raw_images_come_back_exactly_in_any_order(tmp_path: Path, arrays: tuple) -> None:
    images, latents, labels = arrays
    store = ViewStore(write_store(tmp_path / "a.h5", images, latents, labels, encoding="raw"))
    flat = np.array([14, 0, 7, 7, 3])
    got = store.read_images(flat)
    assert got.dtype == torch.uint8 and got.is_contiguous(memory_format=torch.channels_last)
    expected = images.reshape(-1, S, S, 3)[flat].transpose(0, 3, 1, 2)
    assert np.array_equal(got.numpy(), expected)


def test_jpeg_images_decode_as_pillow_decodes_them(tmp_path: Path, arrays: tuple) -> None:
    smooth = np.stack(np.meshgrid(range(0, 256, 4), range(0, 256, 4)), -1).astype(np.uint8)
    image = np.concatenate([smooth, smooth[..., :1]], -1)
    images = np.broadcast_to(image, (2, 2, 64, 64, 3))
    store = ViewStore(write_store(tmp_path / "a.h5", images, np.zeros((2, 2, 7)), [0, 0]))
    (tmp_path / "x.jpg").write_bytes(encode_jpeg(image))
    assert store.read_bytes(np.array([2])) == [encode_jpeg(image)]
    pillow = np.asarray(Image.open(tmp_path / "x.jpg")).astype(int)
    ours = store.read_images(np.array([3]))[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - pillow).max() <= 2  # two builds of the same decoder
    assert np.abs(ours - image).mean() < 2


def test_a_grey_jpeg_is_read_as_rgb(tmp_path: Path) -> None:
    from equissl.datasets.views.store.format import StoreHeader
    from equissl.datasets.views.store.tables import ObjectRecord
    from equissl.datasets.views.store.writer import write_records

    Image.new("L", (8, 8), 100).save(tmp_path / "grey.jpg", quality=95)
    record = ObjectRecord("a", 0, np.zeros((1, 7)), [(tmp_path / "grey.jpg").read_bytes()], 0)
    write_records(tmp_path / "a.h5", StoreHeader(threediebench_schema(), ("c",), 1, 8), [record])
    assert ViewStore(tmp_path / "a.h5").read_images(np.array([0])).unique().tolist() == [100]


def test_tables_and_attributes_come_back(tmp_path: Path, arrays: tuple) -> None:
    images, latents, labels = arrays
    names = ["ü/1", "b/22", "c/3", "d/4", "e/5"]
    write_store(
        tmp_path / "a.h5", images, latents, labels, classes=["x", "y", "z"], split=[0, 1, 0, 1, 0],
        object_names=names, encoding="raw", attributes={"seed": 3, "renderer": {"name": "none"}},
    )  # fmt: skip
    store = ViewStore(tmp_path / "a.h5")
    assert np.array_equal(store.latents, latents) and store.latents.dtype == np.float64
    assert store.labels.tolist() == labels and store.split.tolist() == [0, 1, 0, 1, 0]
    assert store.object_names == names and store.classes == ("x", "y", "z")
    assert (store.num_objects, store.num_views, store.image_size, store.encoding) == (N, V, S, "raw")
    assert store.schema == threediebench_schema()
    assert store.attributes["seed"] == 3 and store.attributes["renderer"] == {"name": "none"}
    assert store.select("val").tolist() == [1, 3] and store.select(None).tolist() == [0, 1, 2, 3, 4]


def test_rotations_are_those_of_scipy(tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    store = ViewStore(write_synthetic_store(tmp_path / "a.h5", 3, 2, 8))
    expected = Rotation.from_euler("xyz", store.latents[..., :3].reshape(-1, 3)).as_matrix().reshape(3, 2, 3, 3)
    assert np.abs(store.rotations().numpy() - expected).max() < 1e-14


def test_the_file_is_a_plain_hdf5_file_with_one_contiguous_blob(tmp_path: Path, arrays: tuple) -> None:
    images, latents, labels = arrays
    write_store(tmp_path / "a.h5", images, latents, labels, encoding="raw")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["image_bytes"].chunks is None and file["image_bytes"].dtype == np.uint8
        first = file["image_bytes"][: 3 * S * S].reshape(S, S, 3)
        assert file[OFFSETS].dtype == np.int64 and len(file[OFFSETS]) == N * V + 1
        assert file["object_names"][0].decode() == "object_00000"
    assert np.array_equal(first, images[0, 0])


def test_same_arrays_same_bytes(tmp_path: Path, arrays: tuple) -> None:
    first = write_store(tmp_path / "a.h5", *arrays).read_bytes()
    time.sleep(1.1)  # files that hold the second in which they were written would differ
    assert all(write_store(tmp_path / "a.h5", *arrays).read_bytes() == first for _ in range(10))


def test_nothing_is_opened_before_use_and_a_pickle_is_small(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "later.h5")
    write_synthetic_store(tmp_path / "later.h5", 4, 2, 8)
    assert store.num_objects == 4
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 1000
    assert torch.equal(copy.read_images(np.arange(3)), store.read_images(np.arange(3)))


def _read_in_child(store: ViewStore, queue: multiprocessing.Queue) -> None:
    queue.put(store.read_images(np.arange(8)).numpy().sum())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_store_opened_before_a_fork_works_after_it(tmp_path: Path) -> None:
    store = ViewStore(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8))
    expected = store.read_images(np.arange(8)).numpy().sum()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_read_in_child, args=(store, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=30) for _ in children] == [expected] * 2
    for child in children:
        child.join()


def test_reading_leaves_no_descriptors_open(tmp_path: Path) -> None:
    path = write_synthetic_store(tmp_path / "a.h5", 4, 2, 8)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        ViewStore(path).read_images(np.array([0]))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="found nothing"):
            _ = ViewStore(tmp_path / "no.h5").labels
        with pytest.raises(StoreError, match="found a folder"):
            _ = ViewStore(tmp_path).labels

    def test_foreign_says_what_it_found(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["points"], file["boxes"] = [1, 2], [3]
        with pytest.raises(StoreError, match=r"image_bytes.*latents.*found format '' with boxes, points"):
            _ = ViewStore(tmp_path / "a.h5").labels

    @pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
    def test_not_hdf5(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(StoreError, match="damaged or another kind"):
            _ = ViewStore(tmp_path / "a.h5").labels

    @pytest.mark.parametrize("encoding", ["raw", "jpeg"])
    def test_truncated_anywhere(self, tmp_path: Path, encoding: str) -> None:
        whole = write_synthetic_store(tmp_path / "a.h5", 4, 2, 8, encoding=encoding).read_bytes()
        for size in [*range(0, len(whole), 997), len(whole) - 1]:
            (tmp_path / "b.h5").write_bytes(whole[:size])
            with pytest.raises(StoreError):
                _ = ViewStore(tmp_path / "b.h5").labels

    def test_truncated_after_opening_is_an_error_not_a_signal(self, tmp_path: Path) -> None:
        store = ViewStore(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8))
        _ = store.labels
        os.truncate(store.path, 3000)
        with pytest.raises(StoreError, match="cut after it was opened"):
            store.read_images(np.arange(8))

    def test_wrong_version(self, tmp_path: Path) -> None:
        path = write_synthetic_store(tmp_path / "a.h5", 4, 2, 8)
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 99
        with pytest.raises(StoreError, match=r"version 2, .* has version 99"):
            _ = ViewStore(path).labels

    def test_zero_objects(self, tmp_path: Path) -> None:
        write_store(tmp_path / "a.h5", np.zeros((0, 2, 8, 8, 3), np.uint8), np.zeros((0, 2, 7)), [], classes=["a"])
        with pytest.raises(StoreError, match="holds none"):
            _ = ViewStore(tmp_path / "a.h5").num_objects

    def test_image_index_out_of_range(self, tmp_path: Path) -> None:
        store = ViewStore(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8))
        for wrong in (8, -1):
            with pytest.raises(IndexError, match=r"0\.\.7"):
                store.read_images(np.array([wrong]))

    def test_split_without_objects(self, tmp_path: Path) -> None:
        store = ViewStore(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8, val_fraction=0.0))
        with pytest.raises(ValueError, match="all 4 are outside"):
            store.select("val")
        with pytest.raises(ValueError, match="'test'"):
            store.select("test")


class TestWriterRefuses:
    def test_contradictions(self, tmp_path: Path, arrays: tuple) -> None:
        images, latents, labels = arrays
        with pytest.raises(ValueError, match=r"latents of shape \(5, 3, 7\), got \(5, 3, 6\)"):
            write_store(tmp_path / "a.h5", images, latents[..., :6], labels)
        with pytest.raises(ValueError, match=r"labels in 0..1, got 0..2"):
            write_store(tmp_path / "a.h5", images, latents, labels, classes=["a", "b"])
        with pytest.raises(ValueError, match="encoding"):
            write_store(tmp_path / "a.h5", images, latents, labels, encoding="png")
        with pytest.raises(ValueError, match="uint8"):
            write_store(tmp_path / "a.h5", images.astype(float), latents, labels)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_nothing_and_says_how_much(
        self, tmp_path: Path, arrays: tuple, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match=r"disk full: 0.0 MB needed, \d+\.\d MB free"):
            write_store(tmp_path / "a.h5", *arrays)
        assert list(tmp_path.iterdir()) == []

    def test_other_errors_keep_their_message(self, tmp_path: Path) -> None:
        with pytest.raises(PermissionError, match="mine"), full_disk_message(tmp_path / "a", 1):
            raise PermissionError(13, "mine")
