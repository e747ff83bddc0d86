"""An unpacked store, read by a loader written from the description of 3DIEBench and 3DIEBench-T alone.

The loader below knows nothing of this package: it asserts every statement about files, arrays and index files, and
draws pairs as the published loaders do. Its numbers are the oracle for our own batches of the same views.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer, FakeSource

from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.dataset import make_batch
from equissl.datasets.views.folder.layout import pack, unpack
from equissl.datasets.views.store.store import ViewStore

VIEWS, SIDE = 50, 256
MEAN, STD = np.array([0.5016, 0.5037, 0.5060]), np.array([0.1030, 0.0999, 0.0969])


@dataclass
class Item:
    """One object: two of its 50 views and what takes the first to the second."""

    images: np.ndarray  # (2, 3, 256, 256), normalised
    latents: np.ndarray  # (2, 7 or 10)
    label: int
    views: tuple[int, int]

    @property
    def turns(self) -> list[Rotation]:
        return [Rotation.from_euler("xyz", row[:3].astype(np.float32).astype(np.float64)) for row in self.latents]

    @property
    def relative(self) -> Rotation:
        return self.turns[0].inv() * self.turns[1]

    @property
    def hues(self) -> np.ndarray:
        return self.latents[1][[3, 6]] - self.latents[0][[3, 6]]


class StrictLoader:
    """``ROOT/<synset>/<object id>/image_<i>.jpg`` and ``latent_<i>.npy`` by the lists of a split."""

    def __init__(self, root: str, split: str, width: int) -> None:
        self.root, self.width = root, width
        self.images = np.load(f"{root}/{split}_images.npy", allow_pickle=False)
        self.labels = np.load(f"{root}/{split}_labels.npy", allow_pickle=False)
        self.table = np.load(f"{root}/all_latents_{split}.npy", allow_pickle=False)
        self.check_lists(split)

    def check_lists(self, split: str) -> None:
        n = len(self.images)
        assert self.images.shape == (n,) and self.images.dtype.kind == "U" and self.images.dtype.byteorder in "=<"
        assert self.labels.shape == (n,) and self.labels.dtype == np.dtype("<i8")
        characters = self.images.dtype.itemsize // 4
        assert Path(f"{self.root}/{split}_images.npy").stat().st_size == 128 + 4 * characters * n
        assert Path(f"{self.root}/{split}_labels.npy").stat().st_size == 128 + 8 * n
        assert self.table.dtype == np.float64 and self.table.shape == (n * VIEWS, self.width)
        synsets = sorted(path.name for path in Path(self.root).iterdir() if path.is_dir())
        for entry, label in zip(self.images.tolist(), self.labels.tolist(), strict=True):
            match = re.fullmatch(r"/(\d{8})/([A-Za-z0-9._-]+)/", entry)
            assert match, entry
            assert synsets[label] == match[1]
        assert len(set(self.images.tolist())) == n

    def read(self, index: int, view: int) -> tuple[np.ndarray, np.ndarray]:
        """The names joined as text, as the published loaders do."""
        image_file = str(self.root) + str(self.images[index]) + f"image_{view}.jpg"
        latent_file = str(self.root) + str(self.images[index]) + f"latent_{view}.npy"
        data = Path(image_file).read_bytes()
        assert data[:3] == b"\xff\xd8\xff"
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (SIDE, SIDE), "RGB")
            pixels = np.asarray(picture.convert("RGB"), np.float64) / 255
        latent = np.load(latent_file, allow_pickle=False)
        assert latent.shape == (self.width,) and latent.dtype == np.float64
        assert Path(latent_file).stat().st_size == 128 + 8 * self.width
        assert np.array_equal(latent, self.table[index * VIEWS + view])
        assert (np.abs(latent[:3]) <= np.pi / 2).all() and 0 <= latent[4] <= np.pi / 4
        assert (latent[[3, 5, 6]] >= 0).all() and (latent[[3, 5, 6]] <= [1, 2 * np.pi, 1]).all()
        assert (np.abs(latent[7:]) <= 0.5).all()
        return ((pixels - MEAN) / STD).transpose(2, 0, 1), latent

    def item(self, index: int, rng: np.random.Generator) -> Item:
        first, second = rng.choice(VIEWS, 2, replace=False).tolist()
        parts = [self.read(index, view) for view in (first, second)]
        images, latents = (np.stack(part) for part in zip(*parts, strict=True))
        return Item(images, latents, int(self.labels[index]), (first, second))


@pytest.fixture(scope="module", params=[7, 10], ids=["3DIEBench", "3DIEBench-T"])
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ViewStore, Path, int]:
    """Eight objects, one of which cannot be used, in three classes."""
    folder = tmp_path_factory.mktemp("strict")
    shift = (0.5, 0.5, 0.5) if request.param == 10 else None
    spec = BuildSpec(meshes="fake", views=VIEWS, size=SIDE, seed=4, quality=60, translation_range=shift)
    source, renderer = FakeSource(8, broken=(2,)), FakeRenderer()
    build_views(spec, folder / "a.h5", 0, False, source=source, renderer=renderer)
    return ViewStore(folder / "a.h5"), unpack(folder / "a.h5", folder / "out"), request.param


def test_every_file_of_the_layout(unpacked: tuple[ViewStore, Path, int]) -> None:
    _, root, width = unpacked
    train, val = (StrictLoader(str(root), split, width) for split in ("train", "val"))
    assert (root / "LICENSE").is_file()
    objects = np.load(root / "all_objects.npy", allow_pickle=False)
    assert objects.dtype.kind == "U" and objects.shape == (7, 2) == (len(train.images) + len(val.images), 2)
    assert objects.tolist() == sorted(objects.tolist())
    listed = {tuple(entry.strip("/").split("/")) for entry in [*train.images.tolist(), *val.images.tolist()]}
    assert listed == {tuple(pair) for pair in objects.tolist()}
    names = {f"image_{i}.jpg" for i in range(VIEWS)} | {f"latent_{i}.npy" for i in range(VIEWS)}
    for synset, name in objects.tolist():
        assert {path.name for path in (root / synset / name).iterdir()} == names
    for loader in (train, val):
        for index in range(len(loader.images)):
            for view in range(0, VIEWS, 7):
                loader.read(index, view)


def test_pairs_are_those_of_our_own_batches(unpacked: tuple[ViewStore, Path, int]) -> None:
    store, root, width = unpacked
    rng = np.random.default_rng(0)
    for split, number in (("train", 0), ("val", 1)):
        loader = StrictLoader(str(root), split, width)
        for index, position in enumerate(np.flatnonzero(store.split == number)):
            item = loader.item(index, rng)
            batch = make_batch(store, np.array([position]), np.array([item.views]))
            assert batch.labels.tolist() == [item.label]
            ours = (batch.images[0].numpy() / 255 - MEAN[:, None, None]) / STD[:, None, None]
            assert np.abs(ours - item.images).max() * STD.max() * 255 < 3  # two JPEG decoders
            np.testing.assert_allclose(batch.relative_rotations()[0], item.relative.as_matrix(), atol=1e-5)
            quaternion = item.relative.as_quat()
            np.testing.assert_allclose(batch.relative_quats(sign="legacy")[0], quaternion, atol=1e-5)
            np.testing.assert_allclose(batch.latents[0, 1, [3, 6]] - batch.latents[0, 0, [3, 6]], item.hues, atol=1e-6)
            if width == 10:
                check_translations(batch, item)


def check_translations(batch, item: Item) -> None:
    """The matrices of both frames of 3DIEBench-T."""
    (r1, _), (t1, t2) = item.turns, item.latents[:, 7:]
    for frame, u in (("object", r1.inv().apply(t2 - t1)), ("base", item.relative.apply(t2) - t1)):
        matrix = batch.relative_rigids(frame=frame)[0]
        np.testing.assert_allclose(matrix[:3, 3], u, atol=1e-5)
        np.testing.assert_allclose(matrix[:3, :3], item.relative.as_matrix(), atol=1e-5)
        assert torch.equal(matrix[3], torch.tensor([0.0, 0, 0, 1]))


def test_pack_gives_back_identical_arrays(unpacked: tuple[ViewStore, Path, int], tmp_path: Path) -> None:
    store, root, width = unpacked
    again = pack(root, tmp_path / "b.h5")
    assert again.read_bytes() == store.path.read_bytes()
    again.unlink()
    # what the authors' folders have, and no more: nothing of ours to help
    bare = tmp_path / "bare"
    bare.mkdir()
    for entry in root.iterdir():
        if entry.is_dir() or entry.suffix == ".npy" or entry.name == "LICENSE":
            (bare / entry.name).symlink_to(entry)
    packed = ViewStore(pack(bare, tmp_path / "c.h5"))
    assert packed.schema.names == store.schema.names and len(packed.schema) == width
    order = np.argsort(store.split, kind="stable")  # the lists: train, then val
    assert np.array_equal(packed.labels, store.labels[order])
    assert np.array_equal(packed.latents, store.latents[order])
    assert np.array_equal(packed.split, store.split[order])
    for ours, theirs in ((0, order[0]), (6, order[6])):
        views = np.arange(VIEWS)
        assert packed.read_bytes(ours * VIEWS + views) == store.read_bytes(int(theirs) * VIEWS + views)


def test_synsets_of_shapenet_are_the_class_folders(tmp_path: Path) -> None:
    """So that the authors' own index files fit what was rendered from their list."""

    class Synsets(FakeSource):
        synsets = ("02691156", "03001627", "04379243")

        def entry(self, index: int):
            from dataclasses import replace

            entry = super().entry(index)
            return replace(entry, name=f"{self.synsets[entry.label]}/{index:032x}")

    spec = BuildSpec(meshes="fake", views=2, size=16)
    source = Synsets(9)
    build_views(spec, tmp_path / "a.h5", 0, False, source=source, renderer=FakeRenderer())
    root = unpack(tmp_path / "a.h5", tmp_path / "out")
    entries = [*np.load(root / "train_images.npy"), *np.load(root / "val_images.npy")]
    assert {entry.strip("/") for entry in entries} == {source.entry(i).name for i in range(9)}
    assert sorted(p.name for p in root.iterdir() if p.is_dir()) == list(Synsets.synsets)
    assert pack(root, tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()
