"""Detectors and backbones in and out: OpenPCDet's names both ways, and starting points that must fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from equissl.detection import SECOND, CenterPoint, Detector, NeckConfig, VoxelRCNN
from equissl.detection.grid_pool import PoolConfig
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.methods.drives import SweepInvariant
from equissl.runs import CheckpointError, ConfigError, load_method
from equissl.runs.configfile import resolve_config
from equissl.util.runfolder import LAST
from equissl.weights import WeightsError, detector_state, export_run, import_openpcdet, load_backbone, load_detector
from equissl.weights.detectors import detector_data
from equissl.weights.imports import save_imported
from equissl.weights.openpcdet import write_openpcdet

GRID = VoxelEncoderConfig(point_range=(0, -6.4, -3, 12.8, 6.4, 1), voxel_size=(0.2, 0.2, 0.16), backend="torch")
NECK = NeckConfig((1, 1), (1, 2), (16, 16), (1, 2), (16, 16))


def filled(method: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """Weights and statistics that no other has."""
    generator = torch.Generator().manual_seed(seed)
    for value in method.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return method.eval()


def detector(kind: type[Detector] = SECOND, **encoder) -> Detector:
    return kind(encoder=replace(GRID, **encoder), neck=NECK).eval()


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one if "num_batches" not in k)


def run_of(method: torch.nn.Module, folder: Path, kind: str) -> Path:
    """A run folder of a method."""
    args = {"encoder": {"point_range": list(GRID.point_range), "voxel_size": list(GRID.voxel_size), "backend": "torch"}}
    if kind == "SECOND":
        args["neck"] = {"layers": [1, 1], "strides": [1, 2], "widths": [16, 16], "up_strides": [1, 2],
                        "up_widths": [16, 16]}  # fmt: skip
    config = resolve_config(
        {"method": {"class_path": kind, "init_args": args}, "data": {"store": "x.h5"}, "trainer": {"max_steps": 1}}
    )
    (folder / LAST).parent.mkdir(parents=True)
    save_imported(folder / LAST, method, config.to_dict(), {})
    (folder / "config.yaml").write_text("")
    return folder


@pytest.mark.parametrize("kind", [SECOND, CenterPoint, VoxelRCNN])
@pytest.mark.parametrize("layout", ["krsc", "rskc", "rsck"])
def test_a_detector_comes_back(kind, layout, tmp_path) -> None:
    model, other = filled(detector(kind)), detector(kind)
    state = detector_state(model, layout)
    parts = {"global_step", "backbone_3d", "backbone_2d", "dense_head"} | ({"roi_head"} if kind is VoxelRCNN else set())
    assert {name.partition(".")[0] for name in state} == parts
    assert load_detector(other, state) == layout
    assert same(model, other)
    clouds = [torch.rand(200, 4) * torch.tensor([12.0, 6, 3, 1]) - torch.tensor([0, 3, 2.5, 0])]
    a, b = (m._answer(clouds)[1] for m in (model, other))
    first, second = (x[0]["hm"] if kind is CenterPoint else x.classes for x in (a, b))
    assert torch.equal(first, second)


def test_what_does_not_fit_is_named() -> None:
    state = detector_state(detector())
    del state["dense_head.conv_box.bias"]
    state["backbone_2d.blocks.0.1.weight"] = torch.zeros(8, 8, 3, 3)
    state["roi_head.fc.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        load_detector(detector(), state)
    for line in ("missing dense_head.conv_box.bias", "unexpected roi_head.fc.weight",
                 "backbone_2d.blocks.0.1.weight: expected shape (16, 128, 3, 3), found (8, 8, 3, 3)"):  # fmt: skip
        assert line in str(caught.value)


def test_export_of_a_detector_run(tmp_path) -> None:
    model = filled(detector())
    run = run_of(model, tmp_path / "run", "SECOND")
    export_run(run, tmp_path / "out", format="openpcdet")
    content = torch.load(tmp_path / "out" / "openpcdet.pth", weights_only=True)
    assert content["model_state"].keys() == detector_state(model).keys()
    described = json.loads((tmp_path / "out" / "openpcdet.json").read_text())
    assert described["CLASS_NAMES"] == ["Car", "Pedestrian", "Cyclist"]
    assert described["MODEL.BACKBONE_2D.NUM_FILTERS"] == [16, 16]
    anchors = described["MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG"]
    assert anchors[0]["anchor_sizes"] == [[3.9, 1.6, 1.56]] and anchors[0]["feature_map_stride"] == 8
    assert described["DATA_CONFIG.POINT_CLOUD_RANGE"] == [0.0, -6.4, -3.0, 12.8, 6.4, 1.0]
    # the plain export reads back too, and either is a starting point
    export_run(run, tmp_path / "plain")
    for source in (run, tmp_path / "plain", tmp_path / "plain" / "method.safetensors", tmp_path / "out/openpcdet.pth"):
        other = detector()
        report = load_backbone(other, source)
        assert same(other.encoder.backbone, model.encoder.backbone), source
        assert not same(other.backbone_2d, model.backbone_2d)
        assert report.tensors == len(model.encoder.backbone.state_dict()) and len(report.sha256) == 64


def test_description_of_a_second_stage() -> None:
    model = VoxelRCNN(encoder=GRID, neck=NECK, pool=PoolConfig(query="ball"))
    described = detector_data(model)
    assert described["MODEL.DENSE_HEAD.NAME"] == "AnchorHeadSingle"
    assert described["MODEL.ROI_HEAD.NAME"] == "VoxelRCNNHead" and described["query"] == "ball"
    assert described["MODEL.ROI_HEAD.ROI_GRID_POOL.FEATURES_SOURCE"] == ["x_conv2", "x_conv3", "x_conv4"]
    layers = described["MODEL.ROI_HEAD.ROI_GRID_POOL.POOL_LAYERS"]
    assert [layer["POOL_RADIUS"] for layer in layers.values()] == [[0.4], [0.8], [1.6]]
    json.dumps(described)


def test_starting_from_pretraining_or_from_safetensors(tmp_path) -> None:
    method = filled(SweepInvariant(encoder=GRID, projector=(8,)))
    model = detector()
    assert load_backbone(model, run_of(method, tmp_path / "run", "SweepInvariant")).kind == "run"
    assert same(model.encoder.backbone, method.encoder.backbone)
    save_file(
        {f"backbone_3d.{k}": v for k, v in method.encoder.backbone.state_dict().items()}, tmp_path / "b.safetensors"
    )
    other = detector()
    assert load_backbone(other, tmp_path / "b.safetensors").kind == "openpcdet"
    assert same(other.encoder.backbone, method.encoder.backbone)


def test_starting_points_that_do_not_fit(tmp_path, caplog) -> None:
    source = write_openpcdet(detector_state(detector()), tmp_path / "four.pth")
    with pytest.raises(WeightsError, match=r"four\.pth.*conv_input\.0\.weight"):
        load_backbone(detector(in_channels=3), source)
    with pytest.raises(WeightsError, match="missing"):
        load_backbone(detector(backbone="VoxelResBackBone8x"), source)
    run = run_of(detector(), tmp_path / "run", "SECOND")
    with pytest.raises(WeightsError, match="coordinates 'offset', it has 'absolute'"):
        load_backbone(detector(coordinates="offset"), run)
    with caplog.at_level("WARNING", logger="equissl"):
        load_backbone(detector(voxel_size=(0.1, 0.1, 0.16)), run)
    assert "voxels of [0.2, 0.2, 0.16] m, not [0.1, 0.1, 0.16]" in caplog.text
    with pytest.raises(FileNotFoundError, match="found nothing"):
        load_backbone(detector(), tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it holds"):
        load_backbone(detector(), tmp_path)
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="expected weights under"):
        load_backbone(detector(), tmp_path / "other.pth")


def test_starting_points_of_other_layouts(tmp_path) -> None:
    """Lightning's own files, and those that this program wrote with another layout."""
    lightning = {"pytorch-lightning_version": "2.6.6", "state_dict": {"model.fc.weight": torch.zeros(1)}}
    torch.save(lightning, tmp_path / "lightning.ckpt")
    with pytest.raises(WeightsError, match=r"expected weights under 'encoder.backbone.'.*got model.fc.weight"):
        load_backbone(detector(), tmp_path / "lightning.ckpt")
    torch.save({**lightning, "equissl": {"version": "0.0"}}, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match=r"with config, step under 'equissl'; got .'version'."):
        load_backbone(detector(), tmp_path / "old.ckpt")


def test_import_of_a_whole_detector_and_of_a_backbone(tmp_path) -> None:
    model = filled(SECOND(encoder=VoxelEncoderConfig(backend="torch")))
    state = detector_state(model)
    report = import_openpcdet(write_openpcdet(state, tmp_path / "second.pth"), tmp_path / "run")
    assert report.parameters == 5_325_576
    assert same(load_method(tmp_path / "run")[0], model)
    others = {name: value for name, value in state.items() if name.startswith("backbone_3d.")}
    others["point_head.cls.weight"] = torch.zeros(1)
    file = write_openpcdet(others, tmp_path / "pv_rcnn.pth")
    with pytest.raises(WeightsError, match="missing backbone_2d"):
        import_openpcdet(file, tmp_path / "second_run")
    report = import_openpcdet(file, tmp_path / "second_run", backbone_only=True)
    assert report.parameters == 711_872 and "untrained" in report.messages[1]
    assert same(load_method(tmp_path / "second_run")[0].encoder.backbone, model.encoder.backbone)
    with pytest.raises(WeightsError, match="not free"):
        import_openpcdet(file, tmp_path / "run")
    with pytest.raises(ConfigError, match="recipe of a detector"):
        import_openpcdet(file, tmp_path / "third", config="lidar/strl")
