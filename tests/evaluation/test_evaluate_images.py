"""Runs on images from pretraining to the report, and what their evaluation computes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from equissl.datasets.images.sources import ImagesError
from equissl.datasets.images.whole import iterate_images
from equissl.evaluation import evaluate
from equissl.evaluation.decoding import DECODED
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.images.encoding import image_encoders
from equissl.evaluation.images.evaluate import PREDICTIONS, open_labelled
from equissl.evaluation.images.knn import knn_votes
from equissl.evaluation.images.scores import class_scores, confusion, gain_scores
from equissl.evaluation.relations import RELATIONS
from equissl.evaluation.views.config import LinearProbeConfig
from equissl.kinds.images import IMAGES
from equissl.reporting import format_table, write_report
from equissl.runs import ConfigError, load_method
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain
from equissl.training.data import refuse_other_kind

ENCODER = {"name": "resnet18", "width": 4, "stem": "small"}
OPTIONS = ImageOptions(neighbours=(3, 7), linear=LinearProbeConfig(steps=20), calibrate=16)


def write_images(root: Path, sizes: tuple[int, ...] = (24, 30, 36), classes: tuple[str, ...] = ("blue", "red")) -> Path:
    """Coloured noise, several sizes in each class; no folders of classes for no classes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 6)):
        for channel, name in enumerate(classes or ("",)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(0, 256, (sizes[i % len(sizes)], sizes[0], 3), np.uint8)
                noise[..., channel] //= 4
                Image.fromarray(noise).save(folder / f"{i}.png")
    return root


def config(root: Path, method: str = "SimCLR", data: dict[str, Any] | None = None, **init_args: Any) -> Any:
    tree = {
        "method": {"class_path": method, "init_args": {"encoder": ENCODER, **init_args}},
        "data": {"kind": "images", "root": str(root), "size": 16, "batch_size": 8, **(data or {})},
        "trainer": {"max_steps": 3, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    return resolve_config(tree)


VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}
MASKED = {"encoder": VIT, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 1}
DECODERS = ("CMIM", "MAE", "MixedAE")
SMALL = {"projector": [8, 8]}
SWAV = {"objective": {"name": "swav", "options": {"prototypes": 4}}, "small_crops": 2, "small_size": 8, **SMALL}


@pytest.mark.parametrize(
    ("method", "data", "init_args"),
    [
        ("SimCLR", {}, SMALL),
        ("Invariant", {"policy": "multi_crop"}, SWAV),
        ("Invariant", {"policy": "asymmetric"}, {"objective": {"name": "byol", "options": {"hidden": 8}}, **SMALL}),
        ("AugSelf", {"policy": "simclr_cifar"}, {"action": "crop+jitter", "hidden": 8, **SMALL}),
        ("Supervised", {"policy": "none"}, {"num_classes": 2, "hidden": 8}),
        ("CMIM", {"policy": "none"}, {"image_size": 16, "code_dim": 6, "decoder_width": 2}),
        ("MAE", {"policy": "none"}, MASKED),
        ("MixedAE", {}, MASKED),
    ],
)
def test_from_images_to_a_report(method: str, data: dict, init_args: dict, tmp_path: Path) -> None:
    run = pretrain(config(write_images(tmp_path / "images"), method, data, **init_args), tmp_path / "run")
    results = evaluate(run, OPTIONS)
    assert results["kind"] == "images" and results["train_images"] == 32 and results["val_images"] == 12
    assert results["chance"] == results["majority"] == 0.5
    for group in ("knn", "knn_7", "linear"):
        for part in ("all", "initial", "pixels"):
            assert 0 <= results[f"{group}/{part}/top1"] <= 1
        gain = results[f"{group}/all/top1"] - results[f"{group}/initial/top1"]
        assert results[f"{group}/gain/top1"] == pytest.approx(gain)
    assert results["knn/pixels/top1"] == 1  # the classes differ in colour
    classes = [results[f"class/{name}/top1"] for name in ("blue", "red")]
    assert np.mean(classes) == pytest.approx(results["linear/all/top1"])
    with np.load(run / PREDICTIONS) as arrays:
        assert arrays["labels"].tolist() == [0] * 6 + [1] * 6
        assert np.mean(arrays["linear"] == arrays["labels"]) == pytest.approx(results["linear/all/top1"])
    table = format_table([results])
    assert "before training" in table and "raw pixels" in table and "majority" in table
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "neither encoder nor probe has seen" in page
    decoded = np.load(run / DECODED) if (run / DECODED).is_file() else {}
    assert page.count("data:image/png") == 12 + len(decoded)
    assert ("images" in decoded) == (method in DECODERS) and ("Decoded images" in page) == (method in DECODERS)
    assert all(decoded[name].shape == (8, 3, 16, 16) for name in decoded)


def test_the_encoder_before_training_is_that_of_the_seed(tmp_path: Path) -> None:
    """A run whose learning rate is next to nothing ends with the weights that it began with."""
    tree = config(write_images(tmp_path / "images"), **SMALL)
    tree.seed, tree.optim.lr, tree.optim.weight_decay = 3, 1e-12, 0.0
    method, training = load_method(pretrain(tree, tmp_path / "run"))
    train, _ = open_labelled(training)
    plain = image_encoders(method, training, train, 16, ImageOptions(calibrate=0)).initial
    for trained, initial in zip(method.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, initial, atol=1e-9, rtol=0)
    calibrated = image_encoders(method, training, train, 16, ImageOptions(calibrate=32, batch_size=32)).initial
    x = calibrated.normalise(torch.cat(list(iterate_images(train, 16, 32))))
    first = calibrated.encoder.conv1(torch.nn.functional.pad(x, calibrated.encoder.stem_padding))
    torch.testing.assert_close(calibrated.encoder.bn1.running_mean, first.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert torch.equal(plain.encoder.bn1.running_mean, torch.zeros(4))


def test_relations_of_classes_reach_the_page(tmp_path: Path) -> None:
    hydra = {"name": "hydra", "options": {"classes": 2, "width": 8, "hidden": 8}}
    tree = config(write_images(tmp_path / "images"), "Invariant", objective=hydra, **SMALL)
    run = pretrain(tree, tmp_path / "run")
    evaluate(run, OPTIONS)
    with np.load(run / RELATIONS) as arrays:
        assert arrays["classes"].tolist() == ["blue", "red"]
        expected = load_method(run)[0].eval().objective.class_relations().numpy()
        np.testing.assert_allclose(arrays["relations"], expected, rtol=1e-6)
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "trained with labels on images" in page and "without labels" not in page
    assert "Relations of classes" in page and f"blue, red: {expected[0, 1]:.3f}" in page
    lines: list[str] = []
    evaluate(run, OPTIONS, store=write_images(tmp_path / "other", classes=("a", "b", "c")), log=lines.append)
    assert any("learned of 2 classes, evaluated on 3" in line for line in lines)


def test_images_without_labels_are_scored_on_collapse_alone(tmp_path: Path) -> None:
    plain = write_images(tmp_path / "plain", classes=())
    run = pretrain(config(plain, **SMALL), tmp_path / "run")
    lines: list[str] = []
    without = evaluate(run, OPTIONS, log=lines.append)
    assert any(re.search(r"skipping k-NN and the linear probe: .*need labels.*--store", line) for line in lines)
    assert without["collapse/rankme/all"] >= 1 and not any(key.startswith(("knn", "linear/")) for key in without)
    page = write_report([run], tmp_path / "page.html").read_text()
    assert "nothing but collapse is measured" in page and "before training" in format_table([without])
    with pytest.raises(ImagesError, match=r"need labels.*--store"):
        open_labelled(load_method(run)[1])
    results = evaluate(run, OPTIONS, store=write_images(tmp_path / "named"))
    assert results["val_images"] == 12 and results["store"].endswith("named")
    assert len(list((run / "results").iterdir())) == 2
    supcon = config(plain, "Invariant", objective={"name": "supcon"}, **SMALL)
    with pytest.raises(ConfigError, match="needs labels"):
        pretrain(supcon, tmp_path / "other")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"size": None}, r"expected data\.size"),
        ({"policy": "simclr_cifra"}, "did you mean 'simclr_cifar'"),
        ({"policy_options": {"flop": 0}}, "did you mean 'flip'"),
        ({"form": "saccade"}, "did you mean 'saccades'"),
        ({"format": "cifar10"}, "expected images in .*cifar10: data_batch_1"),
        ({"root": ""}, r"expected data\.root"),
    ],
)
def test_settings_that_do_not_fit(data: dict, message: str, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")
    with pytest.raises(ConfigError, match=message):
        pretrain(config(root, data=data, **SMALL), tmp_path / "run")


def test_votes_are_scikit_learn_s() -> None:
    generator = torch.Generator().manual_seed(0)
    train, queries = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (200, 70))
    labels = torch.randint(0, 4, (200,), generator=generator)
    votes = knn_votes(train, labels, queries, 4, (1, 20, 500), 0.07)
    for k, used in ((1, 1), (20, 20), (500, 200)):
        oracle = KNeighborsClassifier(
            used, weights=lambda distances: np.exp((1 - distances) / 0.07), metric="cosine", algorithm="brute"
        ).fit(train.numpy(), labels.numpy())
        np.testing.assert_allclose(votes[k].numpy(), oracle.predict_proba(queries.numpy()), atol=1e-4)


def test_scores_of_a_classifier() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1])
    scores = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 1, 0]), 3).double()
    before = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 0, 0]), 3).double()
    gain = gain_scores(scores, before, labels, "g")
    assert gain["g/top1"] == pytest.approx(0.4) and gain["g/top1_se"] == pytest.approx(np.sqrt(0.3 / 5))
    assert confusion(scores.argmax(1), labels, 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert class_scores(scores, labels, ("a", "b", "c")) == {
        "class/a/top1": 0.5, "class/b/top1": pytest.approx(2 / 3), "class/c/top1": None,
    }  # fmt: skip


def test_recognised_where_no_other_kind_could_be_meant(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    assert IMAGES.recognises(images) and not IMAGES.recognises(images / "train/red/0.png")
    (tmp_path / "views").mkdir()
    (images / "train/red/0.png").rename(tmp_path / "views/gallery.png")
    (tmp_path / "views/a.h5").touch()
    assert not IMAGES.recognises(tmp_path / "views") and not IMAGES.recognises(tmp_path / "nowhere")
    tree = config(images, **SMALL)
    with pytest.raises(ConfigError, match=r"data\.kind is 'views'.*is a folder of images"):
        refuse_other_kind(str(images), "views")
    assert IMAGES.location(tree.data) == str(images) and Path(IMAGES.resolve(tree.data).root).is_absolute()
