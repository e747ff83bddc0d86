"""Generated images: the same again after any stop, and refusals before any work."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.images import generate as module
from equissl.datasets.images.formats import open_undivided
from equissl.datasets.images.generate import GenerateError, GeneratorSpec, generate

SPEC = GeneratorSpec(size=8, width=8, steps=3, batch_size=4, sample_steps=2, noise_steps=10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (10, 12, 12, 3), np.uint8)):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.png"))]


def test_a_stop_at_any_place_changes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    whole = generate(root, tmp_path / "whole", 6, SPEC, device="cpu")
    assert len(open_undivided(whole)) == len(contents(whole)) == 6 and len(set(contents(whole))) == 6
    assert json.loads((whole / "generate.json").read_text())["parameters"] > 1000

    losses, reached = module._loss, []

    def stopping(*args):
        reached.append(args)
        if len(reached) == 2:
            raise KeyboardInterrupt
        return losses(*args)

    monkeypatch.setattr(module, "_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        generate(root, tmp_path / "again", 2, SPEC, save_every=1, device="cpu")
    again = generate(root, tmp_path / "again", 2, SPEC, save_every=1, device="cpu")
    assert len(reached) == 4  # step 1 was not done twice
    assert contents(again) == contents(whole)[:2]
    (again / "0000001.png").unlink()
    assert contents(generate(root, again, 6, SPEC, device="cpu")) == contents(whole)
    assert len(reached) == 4


def test_a_folder_of_another_generator(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    out = generate(root, tmp_path / "out", 1, SPEC, device="cpu")
    with pytest.raises(GenerateError, match="seed: was 0, now 1"):
        generate(root, out, 1, GeneratorSpec(**{**vars(SPEC), "seed": 1}), device="cpu")


def test_without_the_library_nothing_is_begun(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args, **kwargs):
        if name.split(".")[0] == "diffusers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"equissl\[diffusion\]"):
        generate(root, tmp_path / "out", 1, SPEC, device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes", [{"size": 10}, {"width": 12}, {"steps": 0}, {"sample_steps": 11}, {"lr": 0.0}, {"ema": 1.0}]
)
def test_impossible_specifications(changes: dict) -> None:
    with pytest.raises(GenerateError, match="expected"):
        GeneratorSpec(**{**vars(SPEC), **changes})


def test_no_images_asked_for(root: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="at least 1 image"):
        generate(root, tmp_path / "out", 0, SPEC)
