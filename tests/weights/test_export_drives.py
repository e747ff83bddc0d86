"""Runs on LiDAR scenes leave as a method and as a backbone for OpenPCDet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl import cli
from equissl.methods.drives import DriveMethod
from equissl.runs import load_method
from equissl.runs.checkpoint import METHOD_PREFIX, OURS
from equissl.runs.configfile import build_method, resolve_config
from equissl.util.runfolder import LAST
from equissl.weights import WeightsError, export_run, load_exported, load_openpcdet

ENCODER = {"point_range": [-8, -8, -2, 8, 8, 4], "voxel_size": [0.5, 0.5, 0.25], "max_points": None}
METHODS = {
    "ESSL3D": {"encoder": ENCODER, "points": {"projector": [12, 8]}, "classifier": [16]},
    "CellContrast": {"encoder": {**ENCODER, "backbone": "VoxelResBackBone8x"}, "points": {"projector": [12, 8]}},
    "SweepInvariant": {"encoder": ENCODER, "projector": [16, 8]},
    "Occupancy": {"encoder": ENCODER, "hidden": [16]},
}


def untrained(folder: Path, name: str, arguments: dict[str, Any] | None = None) -> Path:
    """A run folder with random weights."""
    tree = {"method": {"class_path": name, "init_args": arguments or METHODS[name]}, "data": {"store": "drives.h5"}}
    config = resolve_config({**tree, "trainer": {"max_steps": 1}})
    torch.manual_seed(0)
    method = build_method(config.method)
    for value in method.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value), alpha=0.01)
    (folder / LAST).parent.mkdir(parents=True)
    state = {METHOD_PREFIX + key: value for key, value in method.state_dict().items()}
    torch.save({"state_dict": state, OURS: {"config": config.to_dict(), "step": 5, "views": 40}}, folder / LAST)
    return folder


def cloud() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(150, 4, generator=generator) * torch.tensor([12.0, 12.0, 5.0, 1.0]) - torch.tensor([6, 6, 1.5, 0])


@pytest.mark.parametrize("name", METHODS)
def test_the_backbone_comes_back_from_openpcdets_names(name: str, tmp_path: Path) -> None:
    run, out = untrained(tmp_path / "run", name), tmp_path / "out"
    assert cli.main(["export", str(run), "--out", str(out), "--format", "openpcdet"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["openpcdet.json", "openpcdet.pth"]
    method, config = load_method(run)
    assert isinstance(method, DriveMethod)
    # what OpenPCDet's loader does: the tensors under `model_state`, by name
    state = torch.load(out / "openpcdet.pth", weights_only=True)["model_state"]
    assert all(key.startswith("backbone_3d.") for key in state)
    torch.manual_seed(1)
    other = build_method(config.method).eval()
    assert load_openpcdet(other.encoder.backbone, out / "openpcdet.pth") == "krsc"
    assert torch.equal(other.features([cloud()])["all"], method.features([cloud()])["all"])
    data = json.loads((out / "openpcdet.json").read_text())
    assert data["MODEL.BACKBONE_3D.NAME"] == method.encoder.config.backbone
    assert data["DATA_CONFIG.POINT_CLOUD_RANGE"] == ENCODER["point_range"]
    with pytest.raises(WeightsError, match="is not free"):
        export_run(run, out, format="openpcdet")


def test_the_method_comes_back(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "ESSL3D")
    report = export_run(run, tmp_path / "out")
    assert report.files == ("method.safetensors", "card.json") and "--format openpcdet" in report.backbone
    method, _ = load_method(run)
    assert torch.equal(load_exported(tmp_path / "out").features([cloud()])["all"], method.features([cloud()])["all"])
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["parts"] == {"all": 256} and card["clouds"]["encoder"]["voxel_size"] == ENCODER["voxel_size"]
    assert "normalisation" not in card and card["training"]["config"]["data"]["store"] == "drives.h5"
    with pytest.raises(WeightsError, match="--format openpcdet"):
        export_run(run, tmp_path / "other", need_backbone=True)


def test_images_do_not_go_to_openpcdet(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "VICReg", {"encoder": {"width": 4}, "projector": [8]})
    with pytest.raises(WeightsError, match=r"expected a format of runs on views \(equissl\), got 'openpcdet'"):
        export_run(run, tmp_path / "out", format="openpcdet")
    with pytest.raises(WeightsError, match="got 'onnx'"):
        export_run(run, tmp_path / "out", format="onnx")
