"""Data sets of paired modalities: what a batch holds, that addresses decide it, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_store import draw_disc

from equissl.datasets.loader import ViewLoader
from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.paired.batch import CloudBatch, PairedBatch, TextBatch
from equissl.datasets.paired.captions import CaptionError
from equissl.datasets.paired.config import PairedData
from equissl.datasets.paired.form import PairedForm
from equissl.datasets.paired.open import open_paired
from equissl.datasets.paired.paired_views import PairedViews, uniform_rotations
from equissl.datasets.views.dataset import make_batch
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import augmentation_schema, threediebench_schema
from equissl.datasets.views.store.format import StoreError
from equissl.datasets.views.store.store import ViewStore, write_store
from equissl.encoders.text.tokenizer import PAD, START, ByteTokenizer
from equissl.kinds.paired import Paired, form_of
from equissl.runs.config import ConfigError

N, V, P, S = 8, 4, 20, 16
FORM = PairedForm(views=2, clouds=2, texts=3, tokenizer=ByteTokenizer(), length=160)
ADDRESSES = [(0, 3), (0, 1), (2, 3), (5, 0)]


def write_objects(path: Path, clouds: bool = True, schema: Any = None) -> Path:
    rng, plain = np.random.default_rng(0), schema is None
    schema = schema or threediebench_schema()
    latents = np.stack([sample_latents(schema, 0, i, V) for i in range(N)])
    images = np.stack([[draw_disc(row, 0, S) if plain else np.zeros((S, S, 3), np.uint8) for row in rows]
                       for rows in latents])  # fmt: skip
    made = []
    for _ in range(N if clouds else 0):
        normals = rng.normal(size=(P, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        colours = rng.integers(0, 256, (P, 3)).astype(np.uint8)
        made.append(Cloud(rng.normal(size=(P, 3)).astype("<f4"), normals.astype("<f4"), colours))
    split = (np.arange(N) >= 6).astype(np.uint8)
    labels = np.arange(N) % 2
    return write_store(path, images, latents, labels, schema, ["chair", "sofa"], split, encoding="raw", clouds=made)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    return ViewStore(write_objects(tmp_path_factory.mktemp("paired") / "a.h5"))


def write_captioned(folder: Path, count: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = ["image,text,label"]
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines += [f"{number}.png,caption {k} of {number},c{number % 2}" for k in range(3)]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


def decoded(tokens: torch.Tensor) -> str:
    return bytes(int(token) - 2 for token in tokens if token not in (PAD, START)).decode()


def tensors(batch: PairedBatch) -> dict[str, torch.Tensor]:
    found = {"labels": batch.labels, "objects": batch.objects}
    for name in batch.modalities:
        values = vars(getattr(batch, name))
        found |= {f"{name}.{key}": value for key, value in values.items() if isinstance(value, torch.Tensor)}
    return found


def assert_same(first: PairedBatch, second: PairedBatch, rows: list[int] | None = None) -> None:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value if rows is None else value[rows], other[name]), name


def test_a_batch_holds_the_views_clouds_and_captions_of_the_same_objects(store: ViewStore) -> None:
    dataset = PairedViews(store, FORM)
    batch = dataset.__getitems__(ADDRESSES)
    assert batch.modalities == ("views", "clouds", "texts") and len(batch) == 4 and len(dataset) == 6
    views, clouds, texts = batch.views, batch.clouds, batch.texts
    assert views is not None and clouds is not None and texts is not None and views.views is not None
    assert batch.objects.tolist() == [3, 1, 3, 0] and batch.labels.tolist() == [1, 1, 1, 0]
    expected = make_batch(store, batch.objects.numpy(), views.views.numpy())
    assert torch.equal(views.images, expected.images) and torch.equal(views.rotations, expected.rotations)
    stored = store.clouds(batch.objects.numpy())
    for c in range(2):
        assert torch.equal(clouds.points[:, c], stored.points) and torch.equal(clouds.colours[:, c], stored.colours)
    assert torch.equal(clouds.rotations, torch.eye(3).expand(4, 2, 3, 3))
    for row, address in enumerate(ADDRESSES):
        number, view = int(batch.objects[row]), int(views.views[row, 0])
        caption = dataset.caption(*address)
        said = dataset.grammar.caption(number % 2, store.latents[number, view], address[0], number, view)
        assert caption == said == decoded(texts.tokens[row, 0])
        assert texts.lengths[row].tolist() == (texts.tokens[row] > 0).sum(1).tolist()
        assert dataset.maker.texts(caption, *address)[0] == caption
    assert (texts.tokens[:, 1] != texts.tokens[:, 0]).any() and (texts.tokens[:, 1] != texts.tokens[:, 2]).any()


@pytest.mark.parametrize("frame", ["object", "view", "random"])
def test_a_cloud_is_the_stored_one_turned_by_its_rotation(store: ViewStore, frame: Any) -> None:
    batch = PairedViews(store, replace(FORM, clouds=3), cloud_frame=frame).__getitems__(ADDRESSES)
    clouds, stored = batch.clouds, store.clouds(batch.objects.numpy())
    assert clouds is not None and batch.views is not None
    for name in ("points", "normals"):
        turned = torch.einsum("bcij,bpj->bcpi", clouds.rotations, getattr(stored, name))
        torch.testing.assert_close(getattr(clouds, name), turned)
    if frame == "view":
        assert torch.equal(clouds.rotations[:, :2], batch.views.rotations)
    apart = clouds.rotations[:, :1] != clouds.rotations[:, 1:]
    assert apart.any() == (frame != "object")


def test_random_rotations_are_uniform() -> None:
    """Under the Haar measure every entry has mean 0 and variance 1/3, and the trace has mean 0 and variance 1."""
    rotations = uniform_rotations(torch.rand(20000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    eye = torch.eye(3, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, eye)
    assert torch.linalg.det(rotations).min() > 0.999
    assert rotations.mean(0).abs().max() < 5 * (1 / 3 / 20000) ** 0.5
    torch.testing.assert_close(rotations.square().mean(0), torch.full((3, 3), 1 / 3).double(), atol=0.012, rtol=0)
    trace = rotations.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(trace.mean()) < 0.036 and abs(trace.var() - 1) < 0.06


def test_fewer_points_are_other_ones_at_each_visit_and_keep_their_normals(store: ViewStore) -> None:
    dataset = PairedViews(store, FORM, points=7)
    clouds = dataset.__getitems__([(epoch, 2) for epoch in range(30)]).clouds
    stored = store.clouds(np.array([2]))
    assert clouds is not None and clouds.points.shape == (30, 2, 7, 3)
    same = (clouds.points.reshape(-1, 1, 3) == stored.points[0]).all(-1)
    chosen = same.int().argmax(1)
    assert same.sum(1).tolist() == [1] * len(same)
    assert torch.equal(stored.normals[0][chosen], clouds.normals.reshape(-1, 3))
    sets = [frozenset(row.tolist()) for row in chosen.view(60, 7)]
    assert all(len(each) == 7 for each in sets) and len(set(sets)) > 50
    assert (torch.bincount(chosen, minlength=P) > 0).all()


@pytest.mark.parametrize("kind", ["store", "images"])
def test_addresses_alone_decide_a_batch(store: ViewStore, tmp_path: Path, kind: str) -> None:
    if kind == "store":
        data, form = PairedData(store=str(store.path), points=9, cloud_frame="random"), FORM
    else:
        data, form = PairedData(store=str(write_captioned(tmp_path / "x")), size=12), replace(FORM, clouds=0)
    dataset = open_paired(data, form, "train", 1)
    whole = dataset.__getitems__(ADDRESSES)
    again = pickle.loads(pickle.dumps(dataset)).__getitems__(ADDRESSES[::-1])
    assert_same(whole, again, [3, 2, 1, 0])
    assert_same(whole, dataset[ADDRESSES[1]], [1])
    other = open_paired(data, form, "train", 2).__getitems__(ADDRESSES)
    ours, theirs = tensors(whole), tensors(other)
    differing = {name for name, value in ours.items() if not torch.equal(value, theirs[name])}
    assert {"views.images", "texts.tokens"} <= differing
    later, theirs = tensors(dataset.__getitems__([(n + 1, i) for n, i in ADDRESSES])), tensors(whole)
    assert not torch.equal(later["texts.tokens"], theirs["texts.tokens"])


def test_loader_processes_give_the_same_batches(store: ViewStore) -> None:
    dataset = PairedViews(store, FORM, points=9, cloud_frame="random")
    epochs = [list(ViewLoader(dataset, 2, workers)) for workers in (0, 2)]
    assert len(epochs[0]) == len(epochs[1]) == 3
    for here, there in zip(*epochs, strict=True):
        assert_same(here, there)


def test_captioned_images_give_one_of_their_captions_and_turn_nothing(tmp_path: Path) -> None:
    data = PairedData(store=str(write_captioned(tmp_path / "x")), size=12, val_fraction=0, text_policy="none")
    dataset = open_paired(data, replace(FORM, clouds=0), "train", 0)
    batch = dataset.__getitems__([(epoch, 4) for epoch in range(40)])
    views, texts = batch.views, batch.texts
    assert views is not None and texts is not None and batch.clouds is None and batch.modalities == ("views", "texts")
    assert views.images.shape == (40, 2, 3, 12, 12) and torch.equal(views.rotations, torch.eye(3).expand(40, 2, 3, 3))
    assert {decoded(row) for row in texts.tokens[:, 0]} == {f"caption {k} of 4" for k in range(3)}
    assert torch.equal(texts.tokens[:, 0], texts.tokens[:, 2]) and set(batch.labels.tolist()) == {0}
    first = views.images[:, 0]
    assert not torch.equal(first[0], first[1])
    clean = open_paired(replace(data, clean_image=True), replace(FORM, clouds=0), "train", 0)
    plain = clean.__getitems__([(epoch, 4) for epoch in range(3)]).views
    assert plain is not None and torch.equal(plain.images[0, 0], plain.images[2, 0])
    assert not torch.equal(plain.images[0, 1], plain.images[2, 1])


def test_captions_of_a_user_go_with_the_objects_of_a_store(store: ViewStore, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    lines = [f"{name},my {name}" for name in store.object_names]
    file.write_text("object,caption\n" + "\n".join(lines))
    dataset = open_paired(PairedData(store=str(store.path), captions=str(file)), FORM, "val", 0)
    assert [dataset.caption(3, index) for index in range(2)] == ["my object_00006", "my object_00007"]
    file.write_text("object,caption\n" + "\n".join(lines[:3]))
    with pytest.raises(
        CaptionError, match=r"caption of each object of .*, 3 of 6 have none: object_00003, object_00004"
    ):
        open_paired(PairedData(store=str(store.path), captions=str(file)), FORM, "train", 0)


def test_fewer_objects_and_other_words(store: ViewStore) -> None:
    data = PairedData(store=str(store.path), objects=4, words=["floor_hue"])
    dataset = open_paired(data, FORM, "train", 0)
    assert len(dataset) == 4 and dataset.caption(0, 0).count(",") == 1
    assert len(open_paired(data, FORM, "val", 0)) == 2


@pytest.mark.parametrize(
    ("changes", "form", "message"),
    [
        ({"points": 21}, {}, r"expected 1 to 20 points \(stored per object in .*a.h5\), got 21"),
        ({"points": 0}, {}, "expected 1 to 20 points"),
        ({"cloud_frame": "world"}, {}, "cloud_frame to be object, view or random, got 'world'"),
        ({}, {"views": 5}, "expected at least 5 views .* got 4"),
        ({"cloud_frame": "view"}, {"clouds": 5}, "expected at least 5 views"),
        ({"words": ["pose"]}, {}, "unknown attribute 'pose' of captions"),
        ({"text_policy": "wrods"}, {}, "did you mean 'words'"),
        ({"text_policy_options": {"deleted": 1}}, {}, "unknown option 'deleted'"),
        ({"size": 32, "policy": "none"}, {}, "is a view store: data.size, data.policy would change nothing"),
        ({"objects": 99}, {}, "expected 1 to 6 objects, got 99"),
        ({"store": "nowhere.h5"}, {}, "found nothing at nowhere.h5"),
        ({"store": ""}, {}, "expected data.store to be a view store, or a CSV file"),
        ({"words": ["light"], "captions": "CAPTIONS"}, {}, "expected data.words without data.captions"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    store: ViewStore, tmp_path: Path, changes: dict, form: dict, message: str
) -> None:
    (tmp_path / "mine.csv").write_text("image,text\nobject_00000,a\n")
    if "captions" in changes:
        changes = changes | {"captions": str(tmp_path / "mine.csv")}
    with pytest.raises(ValueError, match=message):
        open_paired(PairedData(**{"store": str(store.path), **changes}), replace(FORM, **form), "train", 0)


def test_settings_of_a_store_are_refused_of_images(tmp_path: Path) -> None:
    place = str(write_captioned(tmp_path / "x"))
    form = replace(FORM, clouds=0)
    with pytest.raises(ValueError, match=r"no view store: data.points would change nothing"):
        open_paired(PairedData(store=place, size=8, points=5), form, "train", 0)
    with pytest.raises(ValueError, match=r"several sizes: expected data\.size"):
        open_paired(PairedData(store=place), form, "train", 0)
    with pytest.raises(ValueError, match="no point clouds, and the method asks for 2"):
        open_paired(PairedData(store=place, size=8), FORM, "train", 0)


def test_clouds_that_are_not_there_or_not_finite_are_named_at_opening(tmp_path: Path) -> None:
    import h5py

    bare = write_objects(tmp_path / "bare.h5", clouds=False)
    with pytest.raises(StoreError, match=r"expected point clouds in .*bare.h5, it has none"):
        PairedViews(bare, FORM)
    assert PairedViews(bare, replace(FORM, clouds=0)).__getitems__(ADDRESSES).clouds is None
    path = write_objects(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["points"][5, 0, 0] = np.nan
        file["points"][7, 0, 0] = np.inf
    with pytest.raises(StoreError, match=r"finite points in the clouds of .*, not so in 1 of 6 objects: object_00005"):
        PairedViews(path, FORM)


def test_a_store_without_rotations_has_captions_of_the_class_and_no_frames_of_views(tmp_path: Path) -> None:
    path = write_objects(tmp_path / "a.h5", schema=augmentation_schema())
    assert "," not in PairedViews(path, FORM).caption(0, 0)
    with pytest.raises(ValueError, match=r"expected rotations in .*a\.h5"):
        PairedViews(path, FORM, cloud_frame="view")


def test_shapes_of_batches_are_checked() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    cloud = CloudBatch(*[torch.zeros(2, 1, 5, 3)] * 3, torch.eye(3).expand(2, 1, 3, 3))
    text = TextBatch(torch.zeros(2, 1, 4, dtype=torch.int64), torch.ones(2, 1, dtype=torch.int64))
    batch = PairedBatch(None, cloud, text, labels, labels)
    moved = batch.to("meta")
    assert moved.clouds is not None and moved.clouds.points.device.type == "meta" and moved.views is None
    with pytest.raises(ValueError, match="at least two of views, clouds and texts, got \\['clouds'\\]"):
        replace(batch, texts=None)
    with pytest.raises(ValueError, match="expected clouds of 3 objects, got 2"):
        replace(batch, labels=torch.zeros(3), objects=torch.zeros(3))
    with pytest.raises(ValueError, match=r"objects of shape \(2,\), got \(3,\)"):
        replace(batch, objects=torch.zeros(3))
    with pytest.raises(ValueError, match=r"rotations of shape \(2, 1, 3, 3\)"):
        replace(cloud, rotations=torch.eye(3))
    with pytest.raises(ValueError, match=r"points of shape \(B, C, P, 3\)"):
        replace(cloud, points=torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"int64 tokens of shape"):
        replace(text, tokens=torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match=r"lengths of shape \(2, 1\)"):
        replace(text, lengths=torch.ones(2))
    with pytest.raises(ValueError, match="at least two of views, clouds and texts"):
        PairedForm(views=2)
    with pytest.raises(ValueError, match="a tokenizer and at least 2 tokens"):
        PairedForm(views=2, texts=1)


class Opened(Paired):
    """The kind as far as it opens data."""

    options = PairedData
    evaluate = columns = page = card = None  # type: ignore[assignment]


def test_the_kind_recognises_opens_and_resolves(store: ViewStore, tmp_path: Path, monkeypatch: Any) -> None:
    kind, folder = Opened(), write_captioned(tmp_path / "x")
    assert kind.recognises(folder) and kind.recognises(folder / "captions.csv") and not kind.recognises(tmp_path)
    assert not kind.recognises(store.path) and kind.accepts(store.path) and not kind.accepts(tmp_path / "no")
    monkeypatch.chdir(tmp_path)
    data = kind.resolve(PairedData(store="x", captions="mine.csv"))
    assert data.store == str(tmp_path / "x") and data.captions == str(tmp_path / "mine.csv")
    method = SimpleNamespace(views=2, texts=1, tokenizer=ByteTokenizer(), text_length=30)
    config: Any = SimpleNamespace(data=PairedData(store=str(folder), size=12), seed=3)
    opened = kind.open(config, method, "val")
    assert opened.seed == 3 and len(opened) == 2 and form_of(method).clouds == 0
    config.data.points = 4
    with pytest.raises(ConfigError, match=r"data\.points would change nothing"):
        kind.open(config, method)


def test_findings_are_logged_as_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_captioned(tmp_path / "x")
    with (folder / "captions.csv").open("a") as file:
        file.write("0.png,,c0\n1.png," + "long " * 1000 + ",c1\n")
    open_paired(PairedData(store=str(folder), size=12), replace(FORM, clouds=0), "train", 0)
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "1 captions are empty: left out", "1 captions have more than 4096 characters: cut"
    ]  # fmt: skip


def test_captions_that_are_longer_than_a_text_are_counted(store: ViewStore, caplog: pytest.LogCaptureFixture) -> None:
    data = PairedData(store=str(store.path))
    dataset = open_paired(data, FORM, "train", 0)
    assert not caplog.records
    lengths = sorted(len(dataset.caption(0, index)) + 1 for index in range(6))
    between = next(n for n in range(lengths[0], lengths[-1]) if n in lengths)
    open_paired(data, replace(FORM, length=between), "train", 0)
    cut = sum(length > between for length in lengths)
    assert 0 < cut < 6 and f"{cut} of 6 captions are cut to {between} tokens" in caplog.text
