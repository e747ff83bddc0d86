"""The benchmark of images: one budget, gains of every seed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.bench.images import METHODS, bench_images
from equissl.runs.configfile import load_config


def test_recipes_share_all_but_method_policy_and_learning_rate() -> None:
    configs = [load_config(f"cifar10_{name}") for name in METHODS]
    for config in configs:
        assert replace(config.optim, lr=configs[0].optim.lr) == configs[0].optim
        assert config.trainer == configs[0].trainer
        assert config.method.init_args["encoder"] == configs[0].method.init_args["encoder"]
        assert config.data.kind == "images" and config.data.policy.endswith("_cifar")


def test_unknown_methods_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected methods among simclr, .*, got moco"):
        bench_images(tmp_path, methods=["moco"])


def write_images(root: Path) -> Path:
    """Write two classes of random images, 64 of each for training and 8 for the test."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 64), ("test", 8)):
        for label in ("a", "b"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.mark.slow
def test_gains_of_two_seeds(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    found = bench_images(tmp_path / "images", tmp_path / "out", methods=["swav"], seeds=2, steps=2)
    assert re.fullmatch(r"[+-]\d+\.\d \(-?\d+\.\d SE\), [+-]\d+\.\d \(-?\d+\.\d SE\)", found["swav k-NN gain"])
    assert "before training" in found["table"] and Path(found["report"]).is_file()
    assert {folder.name for folder in (tmp_path / "out/swav").iterdir()} == {"seed1", "seed2"}
