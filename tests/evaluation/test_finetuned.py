"""Fine-tuning of image encoders from the command line to a report: own head, shares of labels, exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl.cli import main
from equissl.datasets.views.batch import ViewBatch
from equissl.evaluation import evaluate
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.images.encoding import image_encoders
from equissl.evaluation.images.evaluate import open_labelled
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig
from equissl.reporting import format_table, write_report
from equissl.runs import ConfigError, load_config, load_method, read_checkpoint
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.util.runfolder import CONFIG_FILE, LAST

ENCODER = {"name": "resnet18", "width": 4, "stem": "small", "pixel_mean": [0.4, 0.5, 0.6]}
OPTIONS = ImageOptions(neighbours=(3,), linear=LinearProbeConfig(steps=5), calibrate=16)
QUICK = ["--trainer.max_steps", "4", "--trainer.precision", "32", "--optim.warmup", "0", "--data.batch_size", "8"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 16 pixels in two classes, which differ in colour."""
    root, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 6)):
        for channel, name in enumerate(("blue", "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(0, 256, (16, 16, 3), np.uint8)
                noise[..., channel] //= 4
                Image.fromarray(noise).save(root / split / name / f"{i}.png")
    return root


VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}
SIMCLR = {"class_path": "SimCLR", "init_args": {"encoder": ENCODER, "projector": [8, 8]}}
MAE = {
    "class_path": "MAE",
    "init_args": {"encoder": VIT, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 1},
}


def pretrained(folder: Path, data: dict[str, Any], method: dict[str, Any] = SIMCLR) -> Path:
    tree = {
        "method": method,
        "data": {"batch_size": 8, **data},
        "trainer": {"max_steps": 2, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    return pretrain(resolve_config(tree), folder)


@pytest.fixture(scope="module")
def base(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = {"kind": "images", "root": str(images), "size": 16}
    return pretrained(tmp_path_factory.mktemp("base") / "simclr", data)


def tune(recipe: str, base: Path, images: Path, out: Path, *words: str) -> Path:
    given = ["--data.root", str(images), "--data.size", "16", "--method.num_classes", "2", *QUICK, *words]
    assert main(["finetune", "--config", recipe, "--init", str(base), "--out", str(out), *given]) == 0
    return out


def test_encoder_of_a_masked_autoencoder_is_fine_tuned(images: Path, tmp_path: Path) -> None:
    base = pretrained(tmp_path / "mae", {"kind": "images", "root": str(images), "size": 16}, MAE)
    run = tune("fine_tuning", base, images, tmp_path / "run")
    results = evaluate(run, OPTIONS)
    assert results["label"].endswith(", MAE") and 0 <= results["head/all/top1"] <= 1
    before, after = (load_method(each)[0].encoder.state_dict() for each in (base, run))
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))


@pytest.mark.parametrize("recipe", ["core_tuning", "fine_tuning", "linear_probe"])
def test_from_a_pretrained_run_to_a_report(recipe: str, base: Path, images: Path, tmp_path: Path) -> None:
    run = tune(recipe, base, images, tmp_path / "run", "--labels", "0.5", "--label_seed", "3")
    assert json.loads((run / "init.json").read_text())["source"] == str(base / LAST)
    tree = yaml.safe_load((run / CONFIG_FILE).read_text())
    assert tree["method"]["init_args"]["encoder"]["pixel_mean"] == [0.4, 0.5, 0.6]  # adopted
    results = evaluate(run, OPTIONS)
    assert results["label"].endswith(", SimCLR") and (results["labels"], results["label_seed"]) == (0.5, 3)
    method, training = load_method(run)
    train, val = open_labelled(training)
    encoders = image_encoders(method, training, train, 16, OPTIONS)
    named = method.class_logits({"all": encoders.feature_set(val).parts["all"][:, 0]}).argmax(1)
    assert results["head/all/top1"] == pytest.approx((named == val.labels).double().mean().item())
    # before training: the encoder that was handed over, with its own statistics
    before = load_method(base)[0].encoder.state_dict()
    assert all(torch.equal(x, before[name]) for name, x in encoders.initial.encoder.state_dict().items())
    moved = any(not torch.equal(x, before[name]) for name, x in method.encoder.state_dict().items())
    assert moved == (recipe != "linear_probe")
    assert "own head %" in format_table([results]) and "own head %" not in format_table([evaluate(base, OPTIONS)])
    assert "trained with labels on images" in write_report([run], tmp_path / "page.html").read_text()


def test_a_classifier_of_views(tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "views.h5", objects=32, views=4, size=16)
    base = pretrained(tmp_path / "base", {"store": str(store)})
    words = ["--method", "CoreTuning", "--method.num_classes", "4", "--method.views", "2", "--data.batch_size", "4"]
    words += ["--data.store", str(store), "--labels", "0.5", "--trainer.max_steps", "3", "--trainer.precision", "32"]
    out = tmp_path / "run"
    assert main(["finetune", "--init", str(base), "--out", str(out), *words]) == 0
    results = evaluate(out, EvaluateConfig(protocols=["classification"], classification=LinearProbeConfig(steps=5)))
    assert 0 <= results["head/all/top1"] <= 1 and results["head/all/top1_se"] is not None
    assert "own head %" in format_table([results])


class Killed(BaseException):
    """Stands for a process that ends without a chance to save."""


class KillAt(Observer):
    def after_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if loop.step == 3:
            raise Killed


def test_core_tuning_continues_to_the_same_bits(base: Path, images: Path, tmp_path: Path) -> None:
    whole = tune("core_tuning", base, images, tmp_path / "whole", "--trainer.checkpoint_every", "2")
    config = load_config(whole / CONFIG_FILE)
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt()])
    cut = pretrain(config, tmp_path / "cut")
    one, two = (read_checkpoint(run / LAST)["state_dict"] for run in (whole, cut))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert one["method.draws.draws"] == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method.num_classes", "3", "--labels", "2"], r"share of labels in \(0, 1\], got 2"),
        (["--labels", "0.1"], r"at least data.batch_size = 8, got 4 images"),
    ],
)
def test_what_cannot_be_learnt_from_is_named(
    words: list[str], message: str, base: Path, images: Path, tmp_path: Path
) -> None:
    config = load_config("fine_tuning", ["--data.root", str(images), *QUICK, "--method.num_classes", "2",
                                         *[w.replace("--labels", "--data.labels") for w in words]])  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_number_of_classes_is_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "plain" / "0.png")
    many = write_synthetic_store(tmp_path / "views.h5", objects=8, classes=4)
    for data, message in (
        ({"kind": "images", "root": str(tmp_path / "plain"), "size": 16}, "learns from labels, and .* has none"),
        ({"store": str(many)}, r"expected method\.num_classes 4, the classes of .*, got 2"),
    ):
        tree = {
            "method": {"class_path": "Classifier", "init_args": {"encoder": ENCODER, "num_classes": 2}},
            "data": {"batch_size": 1, **data},
            "trainer": {"max_steps": 1},
        }
        with pytest.raises(ConfigError, match=message):
            pretrain(resolve_config(tree), tmp_path / "run")
