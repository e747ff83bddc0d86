"""Generated images beside real ones, and the strength of a policy (AdaInf)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.datasets.images.policies import BYOL, POLICIES, SIMCLR, Policy, Recipe
from equissl.datasets.images.sequences import choose_policy
from equissl.datasets.images.sources import ImagesError, JoinedImages, StoredImages
from equissl.kinds.images import IMAGES
from equissl.runs import ConfigError, build_method, read_metrics, resolve_config
from equissl.training import pretrain


def write(folder: Path, count: int, seed: int, size: int = 16) -> Path:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """12 real images of two classes and 9 generated ones without."""
    for name in ("a", "b"):
        write(tmp_path / "real" / "train" / name, 6, ord(name))
        write(tmp_path / "real" / "val" / name, 2, ord(name) + 9)
    return tmp_path / "real", write(tmp_path / "generated", 9, 5)


def config(folders: tuple[Path, Path], method: str = "SimCLR", steps: int = 4, **data):
    init_args = {"encoder": {"name": "resnet18", "width": 4, "stem": "small"}, "projector": [8, 8]}
    if method == "Invariant":
        init_args["objective"] = {"name": "supcon"}
    tree = {
        "method": {"class_path": method, "init_args": init_args},
        "data": {
            "kind": "images",
            "root": str(folders[0]),
            "generated": str(folders[1]),
            "size": 16,
            "batch_size": 4,
            **data,
        },
        "trainer": {"max_steps": steps, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    return resolve_config(tree)


def opened(folders: tuple[Path, Path], split: str = "train", method: str = "SimCLR", **data):
    found = config(folders, method, **data)
    return IMAGES.open(found, build_method(found.method), split)


class TestStrength:
    def test_weak_recipe_of_the_paper_is_one_half(self) -> None:
        weak = SIMCLR.scaled(0.5)
        assert weak.scale == (pytest.approx(0.2), 1.0) and weak.jitter == 0.4 and weak.reach == (0.4, 0.4, 0.4, 0.1)
        assert (weak.gray, weak.blur, weak.flip) == (SIMCLR.gray, SIMCLR.blur, SIMCLR.flip) == (0.2, 0.5, 0.5)

    def test_ends_of_the_scale(self) -> None:
        assert SIMCLR.scaled(1.0) == SIMCLR
        none = SIMCLR.scaled(0.0)
        assert none.scale == (1.0, 1.0) and none.jitter == 0 and none.reach == (0, 0, 0, 0)
        assert SIMCLR.scaled(9.0).jitter == 1 and SIMCLR.scaled(9.0).hue == 0.5

    def test_it_grows(self) -> None:
        scaled = [SIMCLR.scaled(s) for s in np.linspace(0, 2, 9)]
        assert all(a.scale[0] > b.scale[0] and a.jitter <= b.jitter for a, b in pairwise(scaled))

    def test_both_recipes_of_a_policy_and_options_after_the_scale(self) -> None:
        policy = choose_policy("asymmetric", {"jitter": 0.7, "last": {"hue": 0.3}}, 0.5)
        first, last = policy.recipes(2)
        assert first.jitter == last.jitter == 0.7 and (first.hue, last.hue) == (0.05, 0.3)
        assert first.scale == last.scale and first.brightness == BYOL.brightness / 2
        assert POLICIES["simclr"].scaled(0.5) == Policy(SIMCLR.scaled(0.5))

    def test_narrow_crops_stay_in_order(self) -> None:
        assert Recipe((0.1, 0.5)).scaled(0.1).scale == (0.5, 0.5)

    def test_negative_strength(self) -> None:
        with pytest.raises(ValueError, match="strength of augmentation of at least 0, got -1"):
            SIMCLR.scaled(-1)


class TestJoined:
    def images(self, count: int, classes: tuple[str, ...], size: int = 4, value: int = 0) -> StoredImages:
        labels = torch.arange(count) % max(len(classes), 1) if classes else torch.full((count,), -1)
        return StoredImages(torch.full((count, 3, size, size), value, dtype=torch.uint8), labels, classes, Path("x"))

    def test_rows_labels_and_pixels(self) -> None:
        joined = JoinedImages(self.images(3, ("a", "b", "c")), self.images(4, ("c", "a"), value=9))
        assert joined.labels.tolist() == [0, 1, 2, 2, 0, 2, 0] and joined.wholly_labelled
        assert joined.read(np.array([4, 0, 6]))[:, 0, 0, 0].tolist() == [9, 0, 9]
        assert joined.size == (4, 4)

    def test_generated_images_without_labels_and_of_another_size(self) -> None:
        joined = JoinedImages(self.images(2, ("a",)), self.images(2, (), size=6))
        assert joined.labels.tolist() == [0, 0, -1, -1] and joined.labelled and not joined.wholly_labelled
        assert joined.size is None and [x.shape[1] for x in joined.read(np.array([3, 1]))] == [6, 4]

    def test_other_classes(self) -> None:
        with pytest.raises(ImagesError, match="found c too"):
            JoinedImages(self.images(2, ("a", "b")), self.images(2, ("a", "c")))


class TestData:
    def test_an_epoch_holds_copies_and_all_generated_images(self, folders: tuple[Path, Path]) -> None:
        dataset = opened(folders, replicate=3, strength=0.5)
        assert len(dataset) == 21 and dataset.sampler.count(4) == 3 * 12 + 9
        assert dataset.recipes[0] == POLICIES["simclr"].scaled(0.5).recipe
        batch = dataset.__getitems__([(0, 0), (1, 0), (0, 20)])
        assert batch.labels.tolist() == [0, 0, -1] and not torch.equal(batch.images[0], batch.images[1])
        assert batch.objects.tolist() == [0, 0, 20]

    def test_share_in_place_of_copies(self, folders: tuple[Path, Path]) -> None:
        assert opened(folders, real_share=0.8).sampler.real_share == 0.8

    def test_evaluation_sees_real_images_alone(self, folders: tuple[Path, Path]) -> None:
        dataset = opened(folders, "val", replicate=3)
        assert len(dataset) == 4 and dataset.sampler is None

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"replicate": 0.5}, "at least 1, got 0.5"),
            ({"real_share": 0.1}, "from 0.57"),
            ({"real_share": 0.8, "replicate": 2}, "without data.replicate"),
            ({"real_share": 0.8, "generated": ""}, "with data.generated"),
            ({"generated": "nowhere"}, "expected images in"),
            ({"strength": -1.0}, "strength of augmentation"),
            ({"form": "saccades", "strength": 0.5}, "strength 1 with data.form 'saccades'"),
        ],
    )
    def test_impossible_settings(self, folders: tuple[Path, Path], data: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            opened(folders, **data)

    def test_an_objective_that_needs_labels(self, folders: tuple[Path, Path]) -> None:
        with pytest.raises(ConfigError, match="the objective needs labels, and not all images"):
            opened(folders, method="Invariant")

    def test_a_run_is_continued_bit_for_bit_over_the_end_of_an_epoch(self, folders, tmp_path: Path) -> None:
        short, long = (config(folders, steps=n, real_share=0.7, strength=0.5) for n in (4, 9))
        straight = pretrain(long, tmp_path / "straight")
        pretrain(short, tmp_path / "again")
        again = pretrain(replace(short, trainer=long.trainer), tmp_path / "again")
        one, other = (
            torch.load(run / "checkpoints/last.ckpt", weights_only=False)["state_dict"] for run in (straight, again)
        )
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert all(0 <= value <= 1 for _, value in read_metrics(again)["online/top1"])
