"""The packaged recipes on LiDAR scenes: they resolve, build, and are what they say."""

from __future__ import annotations

import pytest
import torch

from equissl.runs import build_method, load_config, save_config
from equissl.util.recipes import find_config

FULL = ("e_ssl3d", "point_contrast", "bev_contrast", "depth_contrast", "strl", "occupancy")
RECIPES = [f"lidar/{name}{size}" for name in FULL for size in ("", "_small")]


def test_every_packaged_file_is_tested() -> None:
    folder = find_config("lidar/e_ssl3d").parent
    assert sorted(RECIPES) == sorted(f"lidar/{p.stem}" for p in folder.glob("*.yaml") if not p.stem.startswith("_"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_resolve_build_and_round_trip(name, tmp_path) -> None:
    config = load_config(name)
    with torch.device("meta"):
        method = build_method(config.method)
    assert method.kind == "drives"
    assert config.data.flow == ("stored" if "e_ssl3d" in name else "none")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_the_published_recipe() -> None:
    config = load_config("lidar/e_ssl3d")
    with torch.device("meta"):
        method = build_method(config.method)
    assert sum(p.numel() for p in method.encoder.backbone.parameters()) == 711_872
    assert method.encoder.grid.shape == (40, 1600, 1408)
    assert method.encoder.bev_shape == (200, 176)
    weights = {name: config.method.init_args[f"{name}_weight"] for name in ("contrast", "classification", "flow")}
    assert weights == {"contrast": 0.01, "classification": 1.0, "flow": 300.0}
    assert (config.data.batch_size, config.trainer.max_epochs) == (56, 80)
    assert (config.optim.optimizer, config.optim.lr) == ("adamw", 1e-4)


@pytest.mark.parametrize("name", ["lidar/point_contrast_small", "lidar/bev_contrast_small"])
def test_part_of_the_contrast_options_leaves_the_others(name) -> None:
    points = load_config(name).method.init_args["points"]
    assert (points["pairs"], points["reduction"], points["symmetric"]) == (512, "mean", True)
