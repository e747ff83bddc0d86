"""Cards and formats that a kind gives to an exported method; detectors and videos included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from equissl import cli
from equissl.datasets.drives.simulated import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.sweeps.object_classes import KITTI_CLASSES
from equissl.detection import Detector, NeckConfig
from equissl.detection.head import DetectionHead
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.kinds import KINDS
from equissl.runs import load_method
from equissl.weights import WeightsError, export_run, load_exported

RANGE = (-12.8, -12.8, -3.0, 12.8, 12.8, 1.0)


class ZeroHead(DetectionHead):
    """A head that finds nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * self.scale

    def loss(self, outputs: Any, boxes: Any, labels: Any, velocities: Any = None) -> tuple[Any, dict[str, Any]]:
        return outputs.square().mean(), {}

    def detect(self, outputs: Any) -> list[Any]:
        return [None] * len(outputs)


class CarFinder(Detector):
    """A detector whose constructor takes no classes."""

    def __init__(self) -> None:
        encoder = VoxelEncoderConfig(point_range=RANGE, voxel_size=(0.8, 0.8, 0.16), backend="torch")
        neck = NeckConfig(layers=(1,), strides=(1,), widths=(8,), up_strides=(1,), up_widths=(8,))
        super().__init__(encoder, neck, KITTI_CLASSES[:1], False, 0.1)
        self._finish(ZeroHead(8))


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> str:
    """Import path of the detector."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import test_kind_exports as module

    monkeypatch.setattr(module, "__name__", "test_kind_exports", raising=False)
    return "test_kind_exports:CarFinder"


def test_a_detector_without_an_argument_called_classes(
    finder: str, untrained: Callable[..., Path], tmp_path: Path
) -> None:
    options = DriveOptions(beams=12, columns=60, max_range=20.0, dropout=0.0)
    store = simulate_drives(tmp_path / "drives.h5", 2, 2, 0, options)
    method, config = load_method(untrained(finder, {}, store=str(store)))
    sweeps = KINDS[config.data.kind].open(config, method)
    assert [kind.name for kind in sweeps.classes] == ["Car"] and len(sweeps[0, 0]) == 1


def test_a_head_that_openpcdet_does_not_have(finder: str, untrained: Callable[..., Path], tmp_path: Path) -> None:
    run = untrained(finder, {}, store="drives.h5")
    with pytest.raises(WeightsError, match="OpenPCDet has no head like ZeroHead"):
        export_run(run, tmp_path / "out", format="openpcdet")
    assert not (tmp_path / "out").exists()


def test_an_export_of_videos_knows_their_frames(
    untrained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = {"frames": 4, "size": 12, "digit_size": 8}
    run = untrained("FERNN", {"videos": videos, "observed": 2, "channels": 2, "decoder_layers": 0}, store="mnist")
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["parts"] == {"all": 2} and card["videos"]["size"] == 12 and card["kind"] == "videos"
    method = load_exported(tmp_path / "out")
    frames = torch.rand(1, 2, 1, 12, 12)
    assert torch.equal(method.features(frames)["all"], load_method(run)[0].features(frames)["all"])
    assert method.features(frames)["all"].shape == (1, card["parts"]["all"])
    with pytest.raises(WeightsError, match="no other library has an encoder of videos"):
        export_run(run, tmp_path / "other", need_backbone=True)
    assert not (tmp_path / "other").exists()
