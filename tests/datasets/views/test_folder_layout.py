from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl.datasets.views.folder.layout import FolderError, pack, unpack
from equissl.datasets.views.schema import threediebench_schema, threediebench_t_schema
from equissl.datasets.views.store.format import StoreHeader, encode_jpeg
from equissl.datasets.views.store.store import ViewStore
from equissl.datasets.views.store.tables import ObjectRecord
from equissl.datasets.views.store.writer import write_records

V = 3


@pytest.fixture
def store(tmp_path: Path) -> ViewStore:
    """Classes in no alphabetical order, one of them empty; a name with a slash and one twice."""
    rng = np.random.default_rng(0)
    header = StoreHeader(threediebench_schema(), ("zebra", "apple", "unused", "mug"), V, 16, attributes={"seed": 3})
    names = ["zebra/a b", "zebra/a_b", "apple/ü", "mug/x/y", "odd"]
    records = [
        ObjectRecord(
            name=name,
            label=label,
            latents=rng.normal(size=(V, 7)),
            images=[header.encode(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(V)],
            index=2 * i,
            split=int(i in (1, 2)),
            source="fake",
            licence="CC0",
            creator=f"maker {i}",
        )
        for i, (name, label) in enumerate(zip(names, [0, 0, 1, 3, 3], strict=True))
    ]
    write_records(tmp_path / "a.h5", header, records, [("mug/bad", "no faces")])
    return ViewStore(tmp_path / "a.h5")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A folder as the authors publish it: WordNet numbers, shuffled lists, nothing of ours in it."""
    rng = np.random.default_rng(1)
    root = tmp_path / "3DIEBench"
    objects = [f"{synset}/{rng.bytes(16).hex()}" for synset in ("02691156", "03001627", "04379243") for _ in range(4)]
    for place in objects:
        (root / place).mkdir(parents=True)
        for view in range(V):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / place / f"image_{view}.jpg", quality=80, subsampling=0)
            np.save(root / place / f"latent_{view}.npy", rng.uniform(-1, 1, 7))
    (root / "LICENSE").write_text("CC-BY-NC 4.0")
    labels = {"02691156": 0, "03001627": 1, "04379243": 2}
    order = rng.permutation(12)
    for name, part in (("train", order[:9]), ("val", order[9:])):
        np.save(root / f"{name}_images.npy", np.array([f"/{objects[i]}/" for i in part]))
        np.save(root / f"{name}_labels.npy", np.array([labels[objects[i][:8]] for i in part], dtype=np.int64))
    return root


class TestUnpack:
    def test_files_are_those_of_the_layout(self, store: ViewStore, tmp_path: Path) -> None:
        folder = unpack(store, tmp_path / "out")
        images = np.load(folder / "val_images.npy")
        assert images.dtype.kind == "U" and images.tolist() == ["/00000000/a_b_1/", "/00000001/_/"]
        labels = np.load(folder / "train_labels.npy")
        assert labels.dtype == np.int64 and labels.tolist() == [0, 3, 3]
        latent = folder / "00000003" / "x_y" / "latent_2.npy"
        assert latent.stat().st_size == 184 and np.load(latent).dtype == np.float64
        assert np.array_equal(np.load(latent), store.latents[3, 2])
        assert (folder / "00000003/x_y/image_1.jpg").read_bytes() == store.read_bytes(np.array([10]))[0]
        assert "maker 4" in (folder / "LICENSE").read_text()
        assert np.array_equal(np.load(folder / "all_latents_val.npy"), store.latents[1:3].reshape(-1, 7))

    def test_published_recipe_reads_it(self, store: ViewStore, tmp_path: Path) -> None:
        """Joining root, list entry and file name as text, as the authors' loaders do."""
        folder = unpack(store, tmp_path / "out")
        entry = np.load(folder / "train_images.npy")[1]
        assert Image.open(str(folder) + entry + "image_0.jpg").size == (16, 16)

    def test_raw_store_becomes_jpeg(self, tmp_path: Path) -> None:
        store = ViewStore(write_synthetic_store(tmp_path / "raw.h5", 4, 2, 32, encoding="raw"))
        folder = unpack(store, tmp_path / "out")
        first = np.asarray(Image.open(folder / "00000000" / "object_00000" / "image_0.jpg")).astype(int)
        assert np.abs(first - store.read_images(np.array([0]))[0].permute(1, 2, 0).numpy()).mean() < 8
        again = ViewStore(pack(folder, tmp_path / "b.h5"))
        assert again.encoding == "jpeg" and np.array_equal(again.latents, store.latents)

    def test_never_overwrites(self, store: ViewStore, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("x")
        with pytest.raises(FolderError, match="nothing is overwritten"):
            unpack(store, tmp_path / "out")

    def test_a_failure_leaves_nothing(self, store: ViewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full)
        with pytest.raises(OSError, match="disk full"):
            unpack(store, tmp_path / "out")
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob("out*"))


class TestRoundTrip:
    def test_store_folder_store_is_the_same_file(self, store: ViewStore, tmp_path: Path) -> None:
        again = pack(unpack(store, tmp_path / "out"), tmp_path / "b.h5")
        assert again.read_bytes() == store.path.read_bytes()

    def test_without_our_extra_files_labels_images_and_latents_stay(self, store: ViewStore, tmp_path: Path) -> None:
        folder = unpack(store, tmp_path / "out")
        for name in ("objects.tsv", "provenance.json"):
            (folder / name).unlink()
        again = ViewStore(pack(folder, tmp_path / "b.h5"))
        order = [again.object_names.index(p) for p in ("00000000/a_b", "00000000/a_b_1", "00000001/_")]
        assert again.labels[order].tolist() == [0, 0, 1] and again.split[order].tolist() == [0, 1, 1]
        assert np.array_equal(again.latents[order], store.latents[:3])
        assert again.read_bytes(np.array([order[2] * V]))[0] == store.read_bytes(np.array([2 * V]))[0]


class TestOriginal:
    def test_loads_as_it_is(self, original: Path, tmp_path: Path) -> None:
        store = ViewStore(pack(original, tmp_path / "a.h5"))
        assert store.classes == ("02691156", "03001627", "04379243") and store.image_size == 24
        listed = [*np.load(original / "train_images.npy"), *np.load(original / "val_images.npy")]
        assert [f"/{name}/" for name in store.object_names] == listed
        assert store.split.tolist() == [0] * 9 + [1] * 3
        labels = np.concatenate([np.load(original / f"{n}_labels.npy") for n in ("train", "val")])
        assert np.array_equal(store.labels, labels)
        for index in (0, 11):
            place = original / store.object_names[index]
            assert store.read_bytes(np.array([index * V + 1]))[0] == (place / "image_1.jpg").read_bytes()
            assert np.array_equal(store.latents[index, 1], np.load(place / "latent_1.npy"))

    def test_index_files_elsewhere(self, original: Path, tmp_path: Path) -> None:
        here = pack(original, tmp_path / "a.h5").read_bytes()
        (tmp_path / "index").mkdir()
        for file in original.glob("*.npy"):
            shutil.move(file, tmp_path / "index")
        assert pack(original, tmp_path / "b.h5", index=tmp_path / "index").read_bytes() == here

    def test_val_list_alone_makes_the_rest_train(self, original: Path, tmp_path: Path) -> None:
        (original / "train_images.npy").unlink()
        store = ViewStore(pack(original, tmp_path / "a.h5"))
        assert store.split.tolist() == [0] * 9 + [1] * 3
        assert store.object_names[:9] == sorted(store.object_names[:9])

    def test_no_lists_at_all_asks(self, original: Path, tmp_path: Path) -> None:
        for file in original.glob("*.npy"):
            file.unlink()
        with pytest.raises(FolderError, match=r"no index files(?s:.*)`index`, or give `val_fraction`"):
            pack(original, tmp_path / "a.h5")
        store = ViewStore(pack(original, tmp_path / "a.h5", val_fraction=0.25))
        assert np.bincount(store.labels, weights=store.split).tolist() == [1, 1, 1]

    def test_ten_latents_have_a_translation(self, original: Path, tmp_path: Path) -> None:
        for file in original.glob("*/*/latent_*.npy"):
            np.save(file, np.arange(10.0))
            assert file.stat().st_size == 208
        assert ViewStore(pack(original, tmp_path / "a.h5")).schema == threediebench_t_schema()

    def test_resize(self, original: Path, tmp_path: Path) -> None:
        store = ViewStore(pack(original, tmp_path / "a.h5", size=12))
        assert store.image_size == 12
        source = Image.open(original / store.object_names[5] / "image_2.jpg").resize(
            (12, 12), Image.Resampling.BILINEAR
        )
        assert store.read_bytes(np.array([5 * V + 2]))[0] == encode_jpeg(np.asarray(source))
        untouched = pack(original, tmp_path / "b.h5", size=24).read_bytes()
        assert untouched == pack(original, tmp_path / "c.h5").read_bytes()


class TestBadFolders:
    def test_wrong_folder_shows_expected_and_found(self, tmp_path: Path) -> None:
        (tmp_path / "photos" / "summer").mkdir(parents=True)
        (tmp_path / "photos" / "cat.png").write_text("x")
        with pytest.raises(FolderError, match=r"expected:(?s:.*)OBJECT/(?s:.*)found in (?s:.*)cat\.png\n  summer/"):
            pack(tmp_path / "photos", tmp_path / "a.h5")
        with pytest.raises(FolderError, match="does not exist"):
            pack(tmp_path / "none", tmp_path / "a.h5")
        assert not (tmp_path / "a.h5").exists()

    def test_listed_object_missing(self, original: Path, tmp_path: Path) -> None:
        gone = np.load(original / "val_images.npy")[0].strip("/")
        shutil.rmtree(original / gone)
        with pytest.raises(FolderError, match=f"list 12 objects, 1 of them are not in .*: {gone}"):
            pack(original, tmp_path / "a.h5")

    def test_labels_that_do_not_follow_the_folders(self, original: Path, tmp_path: Path) -> None:
        labels = np.load(original / "val_labels.npy")
        np.save(original / "val_labels.npy", (labels + 1) % 3)
        with pytest.raises(FolderError, match=r"\(3 such objects\)"):
            pack(original, tmp_path / "a.h5")

    def test_damaged_objects_are_named(self, original: Path, tmp_path: Path) -> None:
        place = original / np.load(original / "train_images.npy")[4].strip("/")
        keep = (place / "latent_1.npy").read_bytes()

        def fails(message: str) -> None:
            with pytest.raises(FolderError, match=message):
                pack(original, tmp_path / "a.h5")
            assert not list(tmp_path.glob("a.h5*"))

        (place / "latent_1.npy").unlink()
        fails("latent_1.npy is missing")
        np.save(place / "latent_1.npy", np.zeros(9))
        fails(r"shape \(7,\) or \(10,\) .* found float64 \(9,\)")
        np.save(place / "latent_1.npy", np.zeros(10))
        fails(r"latents of shape \(7,\), as of")
        (place / "latent_1.npy").write_bytes(keep[:50])
        fails("expected a NumPy array")
        (place / "latent_1.npy").write_bytes(keep)
        picture = (place / "image_1.jpg").read_bytes()
        (place / "image_1.jpg").write_bytes(b"no jpeg")
        fails("expected a JPEG image in")
        Image.new("RGB", (24, 20)).save(place / "image_1.jpg")
        fails(r"24 x 24 JPEG image .*, found JPEG \(24, 20\)")
        (place / "image_1.jpg").unlink()
        fails(r"image_0\.jpg, image_1\.jpg")
        (place / "image_1.jpg").write_bytes(picture)
        (place / "image_2.jpg").unlink()
        fails("expected 3 views of every object, .* has 2")

    def test_existing_output_is_kept(self, original: Path, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_text("precious")
        with pytest.raises(FileExistsError, match="not overwritten"):
            pack(original, tmp_path / "a.h5")
