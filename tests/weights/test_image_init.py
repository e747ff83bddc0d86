"""Pretrained image encoders as starting points: what fits is taken whole, what does not is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from equissl.encoders.config import EncoderConfig
from equissl.methods.views.classifier import Classifier
from equissl.runs.checkpoint import METHOD_PREFIX, OURS
from equissl.runs.configfile import build_method, resolve_config
from equissl.util.runfolder import CONFIG_FILE, LAST
from equissl.verbs.runs import adopted_encoder
from equissl.weights import WeightsError, export_run, load_backbone

SMALL = {"name": "resnet18", "width": 4, "stem": "nopool"}


def run_of(folder: Path, encoder: dict[str, Any] | None = None) -> tuple[Path, nn.Module]:
    """A run of SimCLR that was never trained, with its encoder."""
    from equissl.runs import save_config

    tree = {
        "method": {"class_path": "SimCLR", "init_args": {"encoder": encoder or SMALL, "projector": [8, 8]}},
        "data": {"store": "a.h5"},
        "trainer": {"max_steps": 1},
    }
    config = resolve_config(tree)
    torch.manual_seed(1)
    method = build_method(config.method)
    for buffer in method.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    (folder / LAST).parent.mkdir(parents=True)
    state = {METHOD_PREFIX + key: value for key, value in method.state_dict().items()}
    torch.save({"state_dict": state, OURS: {"config": config.to_dict(), "step": 1, "views": 4}}, folder / LAST)
    save_config(config, folder / CONFIG_FILE)
    return folder, method.encoder


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_runs_and_exports_fill_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    run, encoder = run_of(tmp_path / "run")
    export_run(run, tmp_path / "out")
    for source, kind in ((run, "run"), (run / LAST, "run"), (tmp_path / "out", "export")):
        method = Classifier(EncoderConfig(**SMALL), num_classes=3)
        head = method.classifier.weight.clone()
        report = load_backbone(method, source)
        assert same(method.encoder, encoder) and torch.equal(method.classifier.weight, head)
        assert (report.kind, report.layout, report.tensors) == (kind, "", len(encoder.state_dict()))
        assert "layout" not in str(report)


def test_a_librarys_state_dict_fills_its_model(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18(weights=None)
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    method = Classifier(EncoderConfig("torchvision/resnet18"))
    assert load_backbone(method, tmp_path / "resnet18.pth").kind == "library"
    assert torch.equal(method.encoder.model.layer4[1].conv2.weight, model.layer4[1].conv2.weight)
    with pytest.raises(WeightsError, match=r"expected weights under 'encoder\.', got conv1\.weight"):
        load_backbone(Classifier(EncoderConfig(**SMALL)), tmp_path / "resnet18.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 8}, "width 4, not 8"),
        ({"stem": "reference"}, "stem nopool, not reference"),  # of the same names and shapes
        ({"pixel_std": (0.2, 0.2, 0.2)}, r"pixel_std .*, not \(0\.2, 0\.2, 0\.2\)"),
    ],
)
def test_another_encoder_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run")
    with pytest.raises(WeightsError, match=message):
        load_backbone(Classifier(EncoderConfig(**{**SMALL, **changes})), run)


def test_a_classifier_adopts_the_encoder_of_its_run_unless_told_which(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run")
    export_run(run, tmp_path / "out")
    for source in (run, run / LAST, tmp_path / "out"):
        tree = {"method": {"class_path": "CoreTuning"}, "init": str(source)}
        found = adopted_encoder(tree)["method"]["init_args"]["encoder"]
        assert {key: found[key] for key in SMALL} == SMALL
    told = {"method": {"class_path": "CoreTuning", "init_args": {"encoder": {"width": 8}}}, "init": str(run)}
    other = {"method": {"class_path": "VICReg"}, "init": str(run)}
    nowhere = {"method": {"class_path": "CoreTuning"}, "init": str(tmp_path / "none")}
    assert adopted_encoder(told) == adopted_encoder(other) == adopted_encoder(nowhere) == {}
