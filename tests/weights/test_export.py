"""Exported runs come back the same, and their backbones load into the libraries they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from equissl import cli
from equissl.datasets.views.config import ViewsData
from equissl.encoders import create_encoder
from equissl.encoders.config import EncoderConfig
from equissl.runs import MethodConfig, PretrainConfig, TrainerConfig, load_method
from equissl.runs.checkpoint import METHOD_PREFIX, OURS
from equissl.runs.configfile import build_method, resolve_config
from equissl.training import pretrain
from equissl.util.runfolder import LAST
from equissl.weights import WeightsError, export_run, import_weights, library_backbone, load_exported

TINY = {"encoder": {"width": 4}, "projector": [16, 16]}
SMALL_VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {"img_size": 64, "embed_dim": 16, "depth": 2, "num_heads": 2},
}
TORCHVISION = [
    ("resnet18", "fc"),
    ("mobilenet_v3_small", "classifier"),
    ("densenet121", "classifier"),
    ("squeezenet1_1", "classifier"),
]
TIMM = ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "test_resnet"]


def untrained(folder: Path, method: str, arguments: dict[str, Any]) -> Path:
    """A run folder with random weights, moved away from the special values that training starts with."""
    tree = {"method": {"class_path": method, "init_args": arguments}, "data": {"store": ""}}
    config = resolve_config({**tree, "trainer": {"max_steps": 1}})
    torch.manual_seed(0)
    built = build_method(config.method)
    for value in built.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value), alpha=0.01)
    (folder / LAST).parent.mkdir(parents=True)
    state = {METHOD_PREFIX + key: value for key, value in built.state_dict().items()}
    torch.save({"state_dict": state, OURS: {"config": config.to_dict(), "step": 5, "views": 40}}, folder / LAST)
    return folder


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("SIE", {**TINY, "sign": "legacy"}),
        ("EquiCaps", {"encoder": {"width": 4}, "image_size": 64, "capsules": 4, "pose": "rigid"}),
        ("Composed", {**TINY, "invariant": {"name": "byol", "options": {"hidden": 8}}}),
        ("GroupEquivariant", {"encoder": {"width": 4}, "projector": [16]}),
        ("VICReg", {"encoder": {"name": "timm/vit_tiny_patch16_224", "options": {"img_size": 64}}, "projector": [8]}),
        ("CMIM", {"encoder": {"width": 4}, "image_size": 64, "code_dim": 6, "decoder_width": 2}),
        ("MixedAE", {"encoder": SMALL_VIT, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 1}),
    ],
)
def test_round_trip_is_bit_exact(method: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", method, arguments)
    export_run(run, tmp_path / "out")
    before, after = load_method(run)[0], load_exported(tmp_path / "out")
    assert type(before) is type(after) and not after.training
    assert before.state_dict().keys() == after.state_dict().keys()
    for key, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[key]) and value.dtype == after.state_dict()[key].dtype
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        first, second = before.features(images), after.features(images)
    assert all(torch.equal(first[part], second[part]) for part in first)
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["parts"] == {part: value.shape[1] for part, value in first.items()}


def test_card_of_a_trained_run(small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = TrainerConfig(max_steps=2, precision="32", accelerator="cpu", loggers=["csv"])
    method = MethodConfig("SIE", {**TINY, "sign": "legacy"})
    run = pretrain(
        PretrainConfig(method, ViewsData(store=str(small_store), batch_size=4), trainer=trainer), tmp_path / "run"
    )
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / "out" / name) for name in ("method.safetensors", "card.json")]
    assert "torchvision and timm do not have" in printed.err
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["quaternion"] == {"order": "xyzw", "sign": "legacy"}
    assert card["normalisation"]["mean"] == [0.5016, 0.5037, 0.5060]
    assert card["training"]["steps"] == 2 and card["training"]["versions"]["torch"] == torch.__version__
    assert str(small_store.parent) not in json.dumps(card) and card["training"]["config"]["data"]["store"] == "tiny.h5"
    assert (tmp_path / "out/method.safetensors").stat().st_mode == (tmp_path / "out/card.json").stat().st_mode
    assert card["backbone"]["file"] is None and "projection shortcut" in card["backbone"]["reason"]
    assert set(card["licence"].values()) - {card["licence"]["note"]} == {None}
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
    assert cli.main(["export", str(run), "--out", str(tmp_path / "need"), "--need_backbone", "true"]) == 2
    assert not (tmp_path / "need").exists()


def exported(tmp_path: Path, encoder: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, torch.Tensor]]:
    run = untrained(tmp_path / "run", "VICReg", {"encoder": encoder, "projector": [8]})
    export_run(run, tmp_path / "out", need_backbone=True)
    card = json.loads((tmp_path / "out/card.json").read_text())["backbone"]
    return load_method(run)[0], card, safetensors.torch.load_file(tmp_path / "out/backbone.safetensors")


@pytest.mark.parametrize(("name", "head"), TORCHVISION)
def test_torchvision_loads_the_backbone(name: str, head: str, tmp_path: Path) -> None:
    method, card, weights = exported(tmp_path, {"name": f"torchvision/{name}"})
    model = torchvision.models.get_model(name)
    setattr(model, head, nn.Identity())
    model.load_state_dict(weights, strict=True)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        ours, theirs = method.features(images)["all"], model.eval()(images)
    same = ours.shape == theirs.shape and bool((ours - theirs).abs().max() < 1e-5 * theirs.abs().max())
    assert card["same_output"] == same == (name != "squeezenet1_1")  # whose head holds the pooling
    assert card["library"] == "torchvision" and f"model.{head} = torch.nn.Identity()" in card["load"]


@pytest.mark.parametrize("name", TIMM)
def test_timm_loads_the_backbone(name: str, tmp_path: Path) -> None:
    options = {"img_size": 64} if name.startswith("vit") else {}
    method, card, weights = exported(tmp_path, {"name": f"timm/{name}", "options": options})
    model = timm.create_model(name, num_classes=0, **options)
    model.load_state_dict(weights, strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(method.features(images)["all"], model.eval()(images))
    assert card["same_output"] is True and card["library"] == "timm"


def test_the_card_s_own_words_load_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, card, weights = exported(tmp_path, {"name": "torchvision/resnet18"})
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, Any] = {"torch": torch, "torchvision": torchvision, "safetensors": safetensors}
    exec(card["load"], names)
    assert torch.equal(names["model"].layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])


def test_imported_seq_jepa_encoder_goes_on_to_torchvision(imitate: Any, save: Any, tmp_path: Path) -> None:
    weights = imitate("seqjepa")
    import_weights("seqjepa", save(weights), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out", need_backbone=True)
    kept = safetensors.torch.load_file(tmp_path / "out/backbone.safetensors")
    theirs = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    assert kept.keys() == theirs.keys() and all(torch.equal(kept[key], theirs[key]) for key in kept)
    assert json.loads((tmp_path / "out/card.json").read_text())["training"]["imported"]["option"] == "seqjepa"


def test_the_papers_resnet_has_no_library_names() -> None:
    config = EncoderConfig()
    with pytest.raises(WeightsError, match="which torchvision and timm do not have"):
        library_backbone(create_encoder("resnet18"), config)


def test_tampered_folders_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(untrained(tmp_path / "run", "SIE", TINY), out)
    card = json.loads((out / "card.json").read_text())

    def rewritten(**changes: Any) -> Path:
        (out / "card.json").write_text(json.dumps({**card, **changes}))
        return out

    with pytest.raises(WeightsError, match="trust=True"):
        load_exported(rewritten(method={"class_path": "antigravity.Method", "init_args": {}}))
    with pytest.raises(WeightsError, match=r"expected a card of format .* found \('equissl-method', 9\)"):
        load_exported(rewritten(format_version=9))
    rewritten()
    weights = safetensors.torch.load_file(out / "method.safetensors")
    safetensors.torch.save_file({key: value + 1 for key, value in weights.items()}, out / "method.safetensors")
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        load_exported(out)
    with pytest.raises(FileNotFoundError, match=r"no card\.json"):
        load_exported(tmp_path / "run")
