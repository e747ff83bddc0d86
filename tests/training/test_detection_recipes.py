"""The packaged recipes of detectors: they resolve, build, and are what they say."""

from __future__ import annotations

import pytest
import torch

from equissl.datasets.sweeps.object_classes import class_indices
from equissl.detection import Detector
from equissl.runs import build_method, load_config, save_config
from equissl.util.recipes import find_config

# recipe: cells of the head's map (y, x), voxels along z, y, x
GEOMETRY = {
    "kitti_second": ((200, 176), (40, 1600, 1408)),
    "kitti_centerpoint": ((200, 176), (40, 1600, 1408)),
    "kitti_voxel_rcnn": ((200, 176), (40, 1600, 1408)),
    "nuscenes_centerpoint": ((128, 128), (40, 1024, 1024)),
    "waymo_centerpoint": ((188, 188), (40, 1504, 1504)),
    "second_small": ((48, 48), (25, 192, 192)),
    "second_cars_small": ((48, 48), (25, 192, 192)),
    "kitti_second_small": ((48, 48), (25, 192, 192)),
    "centerpoint_small": ((48, 48), (25, 192, 192)),
    "voxel_rcnn_small": ((48, 48), (25, 192, 192)),
}


def build(name: str):
    config = load_config(f"detection/{name}")
    with torch.device("meta"):
        return config, build_method(config.method)


def test_every_packaged_file_is_tested() -> None:
    folder = find_config("detection/second_small").parent
    assert sorted(GEOMETRY) == sorted(p.stem for p in folder.glob("*.yaml") if not p.stem.startswith("_"))


@pytest.mark.parametrize("name", GEOMETRY)
def test_recipes_resolve_build_and_round_trip(name, tmp_path) -> None:
    config, method = build(name)
    assert isinstance(method, Detector) and config.data.kind == "sweeps"
    assert (method.cells, method.encoder.grid.shape) == GEOMETRY[name]
    assert (config.optim.optimizer, config.optim.schedule, config.optim.momentum) == (
        "adamw", "one_cycle", (0.95, 0.85)
    )  # fmt: skip
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_the_published_recipe_of_second() -> None:
    config, method = build("kitti_second")
    assert sum(p.numel() for p in method.parameters()) == 5_325_576
    assert (config.data.batch_size, config.trainer.max_epochs, config.optim.lr) == (4, 80, 0.003)
    assert config.data.rotation == pytest.approx((-torch.pi / 4, torch.pi / 4))
    assert [(kind.name, kind.paste, kind.overlap) for kind in method.classes] == [
        ("Car", 20, 0.7), ("Pedestrian", 15, 0.5), ("Cyclist", 15, 0.5)
    ]  # fmt: skip
    choice = method.dense_head.choose
    assert (choice.score, choice.overlap, choice.before, choice.after) == (0.1, 0.01, 4096, 500)


def test_the_published_recipe_of_voxel_rcnn() -> None:
    config, method = build("kitti_voxel_rcnn")
    assert (config.data.batch_size, config.trainer.max_epochs, config.optim.lr) == (2, 80, 0.01)
    choices = (method.train_proposals, method.dense_head.choose, method.roi_head.choose)
    assert [(c.score, c.overlap, c.before, c.after) for c in choices] == [
        (0.0, 0.8, 9000, 512), (0.0, 0.7, 2048, 100), (0.3, 0.1, 4096, 500)
    ]  # fmt: skip
    pool, sample, layers = method.roi_head.pool, method.roi_head.sample, method.roi_head.layers
    assert (pool.stages, pool.radii) == (("conv2", "conv3", "conv4"), (0.4, 0.8, 1.6))
    assert (pool.query, pool.points, pool.samples, pool.reach, pool.width) == ("ball", 6, 16, 4, 32)
    assert (sample.count, sample.foreground, sample.matched) == (128, 0.5, 0.55)
    assert (sample.hard, sample.hard_share, sample.unsure, sample.sure) == (0.1, 0.8, 0.25, 0.75)
    assert layers.dropout == 0.3 and layers.shared == layers.classes == layers.boxes == (256, 256)


def test_nuscenes_recipe_knows_the_data_sets_labels() -> None:
    config, method = build("nuscenes_centerpoint")
    labels = ("vehicle.car", "vehicle.bus.rigid", "human.pedestrian.adult", "movable_object.trafficcone", "animal",
              "human.pedestrian.wheelchair", "vehicle.construction")  # fmt: skip
    names = [method.classes[i].name if i >= 0 else None for i in class_indices(labels, method.classes)]
    assert names == ["car", "bus", "pedestrian", "traffic_cone", None, None, "construction_vehicle"]
    assert [len(task) for task in method.dense_head.tasks] == [1, 2, 2, 1, 2, 2]
    assert method.encoder.backbone.in_channels == 5 and config.data.sweeps == 10
