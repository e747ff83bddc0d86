"""Imported checkpoints compute what the published networks compute, and files that do not fit are refused."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from equissl import cli
from equissl.encoders import CapsuleProjector, resnet18
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.runs import ConfigError, load_config, load_method
from equissl.runs.checkpoint import read_checkpoint
from equissl.runs.configfile import build_method, resolve_config
from equissl.training import pretrain
from equissl.weights import WeightsError, find_layout, import_weights, read_weights, rename
from equissl.weights.imports import bookkeeping
from equissl.weights.script import Script

# Table, family, our method, what the published networks hold beside the online evaluator. Every option of SIE's and of
# seq-JEPA's scripts is compared in test_published_sie.py and test_published_seqjepa.py.
PUBLISHED = [
    ("SIE", "sie", "SIE", 20_105_920),
    ("EquiCaps_3x3", "equicaps", "EquiCaps", 18_619_712),
    ("EquiCaps_4x4", "equicaps", "EquiCaps", 31_579_904),
    ("resnet18", "sie", "Backbone", 11_180_736),
    ("seqjepa", "seqjepa", "SeqJEPA", 38_439_296),
]


def under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def loaded(module: nn.Module, weights: dict[str, Tensor]) -> Any:
    module.load_state_dict({key: value.clone() for key, value in weights.items()}, strict=True)
    return module.eval().requires_grad_(False)


def expander(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published three-layer projector, from its weights alone."""
    for layer, norm in ((0, 1), (3, 4)):
        x = F.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        statistics = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu(F.batch_norm(x, *statistics))
    return F.linear(x, weights["6.weight"])


def assert_same(ours: Tensor, expected: Tensor) -> None:
    """Long sums cancel, so differences are held against the largest value."""
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def images(size: int, number: int = 2) -> Tensor:
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("table", "family", "method", "parameters"), PUBLISHED)
def test_every_published_model(
    table: str, family: Any, method: str, parameters: int, imitate: Any, save: Any, tmp_path: Path
) -> None:
    weights = imitate(table)
    report = import_weights(family, save(weights), tmp_path / "run")
    assert (report.method, report.parameters) == (method, parameters)
    assert table in report.option or method == "Backbone"
    ours, _ = load_method(tmp_path / "run")
    assert type(ours).__name__ == method
    size = 256 if method == "EquiCaps" else 64
    with torch.no_grad():
        parts = ours.features(images(size))
        if table == "seqjepa":
            model = torchvision.models.resnet18()
            model.fc = nn.Identity()  # type: ignore[assignment]
            expected = loaded(model, under(weights, "encoder."))(images(size))
        else:
            encoder = loaded(resnet18(), under(weights, "" if table == "resnet18" else "backbone."))
            expected = encoder(images(size))
    torch.testing.assert_close(parts["all"], expected)
    assert any("evaluator" in message for message in report.messages) == ("evaluator.classifier_repr.weight" in weights)
    check = CHECKS.get(table)
    if check is not None:
        with torch.no_grad():
            check(ours, weights, expected, parts)


def check_sie(ours: Any, weights: dict[str, Tensor], r: Tensor, parts: dict[str, Tensor]) -> None:
    torch.testing.assert_close((parts["inv"], parts["equi"]), (r[:, :256], r[:, 256:]))
    inv, equi = ours.embed(r)
    torch.testing.assert_close(inv, expander(under(weights, "projector_inv."), r[:, :256]))
    torch.testing.assert_close(equi, expander(under(weights, "projector_equi."), r[:, 256:]))
    z = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    maps = (z @ weights["predictor.hypernet.net.0.weight"].T).view(2, 1024, 1024)
    assert_same(ours.predictor(equi, z), torch.einsum("boi,bi->bo", maps, equi))
    assert ours.action.sign == "legacy"


def check_equicaps(ours: Any, weights: dict[str, Tensor], r: Tensor, parts: dict[str, Tensor]) -> None:
    """Convolutions and routing written out from the definition, votes and all."""
    w = under(weights, "projector.")
    feature_map = loaded(resnet18(), under(weights, "backbone.")).feature_map(images(256))
    a, u = (F.conv2d(feature_map, w[f"conv_{kind}.weight"], padding=1) for kind in ("a", "pose"))
    a, u = (
        F.batch_norm(x, *(w[f"bn_{kind}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")))
        for kind, x in (("a", a), ("pose", u))
    )
    pose = ours.pose_size**2
    a = torch.sigmoid(a).permute(0, 2, 3, 1).flatten(1)
    u = u.unflatten(1, (32, pose)).permute(0, 3, 4, 1, 2).flatten(1, 3)
    routing = torch.softmax(torch.einsum("bnc,njc->bnj", u, w["fc.W2"]) + w["fc.b2"][0], dim=2)
    routed = a.unsqueeze(2) * routing
    torch.testing.assert_close(parts["inv"], routed.sum(1) / a.sum(1, keepdim=True))
    votes = torch.einsum("njdc,bnc->bnjd", w["fc.W1"].unflatten(1, (32, pose)), u)
    expected = torch.einsum("bnj,bnjd->bjd", routed / routed.sum(1, keepdim=True), votes).flatten(1)
    assert_same(parts["equi"], expected)


def check_seqjepa(ours: Any, weights: dict[str, Tensor], r: Tensor, parts: dict[str, Tensor]) -> None:
    """Two views and one action, with torch's own transformer around the published weights."""
    action = F.normalize(torch.randn(1, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    projector = under(weights, "action_proj.")
    moved = F.linear(action, projector["0.weight"])
    moved = F.batch_norm(moved, projector["1.running_mean"], projector["1.running_var"])
    tokens = torch.cat([r, torch.cat([moved, torch.zeros(1, 128)])], dim=1)
    layer = nn.TransformerEncoderLayer(640, 4, 2560, batch_first=True)
    transformer = loaded(nn.TransformerEncoder(layer, 3, nn.LayerNorm(640)), {
        key.replace("transformer_encoder.", ""): value for key, value in under(weights, "transformer_encoder.").items()
    })  # fmt: skip
    expected = transformer(torch.cat([weights["agg_token"][0], tokens])[None])[:, 0]
    moves = ours.embed_actions(action[None])
    torch.testing.assert_close(moves[0], moved)
    torch.testing.assert_close(ours.aggregate(r[None], moves), expected, rtol=1e-4, atol=1e-4)
    teacher = torchvision.models.resnet18()
    teacher.fc = nn.Identity()  # type: ignore[assignment]
    expected = loaded(teacher, under(weights, "target_encoder."))(images(64))
    torch.testing.assert_close(ours.teacher["encoder"](images(64)), expected)


CHECKS: dict[str, Callable[[Any, dict[str, Tensor], Tensor, dict[str, Tensor]], None]] = {
    "SIE": check_sie,
    "EquiCaps_3x3": check_equicaps,
    "seqjepa": check_seqjepa,
    "EquiCaps_4x4": check_equicaps,
}


@pytest.mark.parametrize("size", [128, 96])
def test_backbone_gives_the_golden_outputs(
    size: int, golden: Path, fill_by_rule: Callable[[nn.Module], None], save: Any, tmp_path: Path
) -> None:
    """To 1e-9 with the file's own float64 values, and to float32's precision from the run folder."""
    filled = resnet18().double().eval()
    fill_by_rule(filled)
    file = save({f"backbone.{key}": value for key, value in filled.state_dict().items()})
    expected = torch.from_numpy(np.load(golden / "resnet18_reference.npz")[f"out_{size}"])
    m = torch.arange(3 * size * size, dtype=torch.float64)
    views = torch.stack([torch.cos((0.013 + 0.016 * b) * m) for b in range(2)]).view(2, 3, size, size)
    tensors = read_weights(file).tensors
    layout = find_layout("sie", tensors)
    tree = {"method": {"class_path": layout.class_path, "init_args": layout.init_args}, "data": {"store": ""}}
    exact = build_method(resolve_config({**tree, "trainer": {"max_steps": 1}}).method).double().eval()
    exact.load_state_dict(rename(tensors, layout, exact.state_dict(), bookkeeping(exact)))
    import_weights("sie", file, tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(exact.features(views)["all"], expected, rtol=1e-9, atol=1e-9)
        rounded = load_method(tmp_path / "run")[0].features(views.float())["all"]
    torch.testing.assert_close(rounded.double(), expected, rtol=1e-4, atol=1e-5)


def test_capsules_give_the_golden_outputs(
    golden: Path, fill_by_rule: Callable[[nn.Module], None], save: Any, imitate: Any, tmp_path: Path
) -> None:
    filled = CapsuleProjector(512, 8, 9, 4).double()
    fill_by_rule(filled)
    backbone = {f"backbone.{key}": value for key, value in imitate("resnet18").items()}
    file = save({**backbone, **{f"projector.{key}": value for key, value in filled.state_dict().items()}})
    import_weights("equicaps", file, tmp_path / "run")
    method, config = load_method(tmp_path / "run")
    assert {key: config.method.init_args[key] for key in ("image_size", "capsules")} == {
        "image_size": 128,
        "capsules": 8,
    }
    m = torch.arange(512 * 16, dtype=torch.float64)
    maps = torch.stack([torch.cos((0.017 + 0.02 * b) * m) for b in range(2)]).relu().view(2, 512, 4, 4)
    expected = np.load(golden / "capsule_projector_k8.npz")
    with torch.no_grad():
        activations, poses = method.embed(maps.float())
    torch.testing.assert_close(activations.double(), torch.from_numpy(expected["activations"]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(poses.double(), torch.from_numpy(expected["poses"]), rtol=1e-3, atol=1e-4)


def test_equicaps_is_configured_as_its_script_was(imitate: Any) -> None:
    coefficients = {"sim_coeff": 0.3, "equi_factor": 7.0, "std_coeff": 11.0, "cov_coeff": 2.0}
    params = {"experience": "EquiCaps_4x4", "arch": "resnet18", "resolution": 250, "base_frame": True, "batch_size": 64}
    script = Script({}, {**params, **coefficients})
    layout = find_layout("equicaps", imitate("EquiCaps_4x4"), script)
    expected = {"sim": 0.3, "equi": 7.0, "std": 11.0, "cov": 2.0, "frame": "base", "image_size": 250, "capsules": 32}
    assert {key: layout.init_args[key] for key in expected} == expected
    assert (script.assumed, layout.config) == ([], {"data": {"batch_size": 64}})
    frame = find_layout("equicaps", imitate("EquiCaps_4x4"), Script({"frame": "object"}, params)).init_args["frame"]
    assert frame == "object"
    script = Script()
    find_layout("equicaps", imitate("EquiCaps_4x4"), script)
    said = "\n".join(script.assumed)
    assert "frame object" in said and "sim_coeff 0.1, equi_factor 5, std_coeff 10, cov_coeff 1" in said
    with pytest.raises(WeightsError, match="images of 256 pixels for a 8 x 8 map, got resolution 128"):
        find_layout("equicaps", imitate("EquiCaps_3x3"), Script({}, {"resolution": 128}))


def test_uneven_split(imitate: Any) -> None:
    """E = 100: shares of 2048 are round(2048 · 412 / 512) = 1648 and round(2048 · 100 / 512) = 400."""
    sie = {k: v for k, v in imitate("SIE").items() if not k.startswith(("projector", "predictor"))}
    for part, size, width in (("inv", 412, 1648), ("equi", 100, 400)):
        for layer, inputs in ((0, size), (3, width), (6, width)):
            sie[f"projector_{part}.{layer}.weight"] = torch.zeros(width, inputs)
    sie["predictor.hypernet.net.0.weight"] = torch.zeros(400**2, 4)
    arguments = find_layout("sie", sie).init_args
    assert (arguments["projector"], arguments["equi_dim"]) == ([2048, 2048, 2048], 100)


def test_activation_checkpointing_and_double_wrapping(imitate: Any, save: Any, tmp_path: Path) -> None:
    weights = imitate("EquiCaps_3x3")
    wrapped = {k.replace("projector.fc.", "projector.fc._checkpoint_wrapped_module."): v for k, v in weights.items()}
    import_weights("equicaps", save(wrapped, prefix="module.module."), tmp_path / "run")
    method = load_method(tmp_path / "run")[0]
    assert torch.equal(method.projector.fc.W1, weights["projector.fc.W1"])
    with pytest.raises(WeightsError, match="there twice"):
        read_weights(save({**wrapped, "projector.fc.W1": weights["projector.fc.W1"]}))


def test_weights_that_do_not_fit_are_listed(imitate: Any, save: Any, tmp_path: Path) -> None:
    weights = imitate("VICReg")
    bad = {key: value for key, value in weights.items() if key != "backbone.bn1.bias"}
    bad["backbone.layer2.0.bn1.weight"] = torch.ones(5)
    bad["backbone.extra"] = torch.ones(1)
    with pytest.raises(WeightsError) as caught:
        import_weights("sie", save(bad), tmp_path / "run")
    for part in ("missing backbone.bn1.bias", "unexpected backbone.extra", "expected shape (128,), found (5,)"):
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()
    weights["projector.0.bias"] = weights["projector.0.bias"] / 0
    with pytest.raises(WeightsError, match=r"projector\.0\.bias: holds values that are NaN or infinite"):
        import_weights("sie", save(weights), tmp_path / "run")


@pytest.mark.parametrize(
    ("family", "table", "message"),
    [
        ("equicaps", "SIE", "missing projector.conv_a.weight"),
        ("sie", "EquiCaps_3x3", "missing projector.0.weight"),
        ("sie", "seqjepa", "missing backbone.conv1.weight"),
        ("seqjepa", "SIE", "missing encoder.conv1.weight"),
    ],
)
def test_of_another_family(family: Any, table: str, message: str, imitate: Any) -> None:
    with pytest.raises(WeightsError, match=message):
        find_layout(family, imitate(table))


def test_torchvision_s_resnet_is_no_backbone_of_sie() -> None:
    with pytest.raises(WeightsError, match="no projection shortcut"):
        find_layout("sie", torchvision.models.resnet18().state_dict())


class Touch:
    """Pickled, it would make a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_code_in_a_file_is_not_run(save: Any, imitate: Any, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    file = save(imitate("resnet18"), trap=Touch(trap))
    with pytest.raises(WeightsError, match="would have to run code"):
        import_weights("sie", file, tmp_path / "run")
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps({"model": Touch(trap)}))
    with pytest.raises(WeightsError, match="cannot be read as tensors"):
        read_weights(plain)
    assert not trap.exists()


def test_plain_data_beside_the_weights_is_no_obstacle(save: Any, imitate: Any) -> None:
    args = argparse.Namespace(arch="resnet18", exp_dir=Path("runs"), lr=1e-3)
    file = save(imitate("resnet18"), args=args, min_loss=np.float64(0.5))
    assert read_weights(file).epoch == 2000


@pytest.mark.parametrize(
    "content", [{"a": 1}, {"model": {}}, [1], {"model": {"x": torch.ones(1)}, "state_dict": {"x": torch.ones(1)}}]
)
def test_files_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="expected a state dict"):
        read_weights(tmp_path / "odd.pth")


def test_files_of_old_versions_of_torch(imitate: Any, tmp_path: Path) -> None:
    weights = imitate("resnet18")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_weights(tmp_path / "old.pth")
    assert found.epoch is None
    assert all(torch.equal(found.tensors[key], value) for key, value in weights.items())


def test_damaged_and_absent_files(imitate: Any, save: Any, tmp_path: Path) -> None:
    file = save(imitate("resnet18"))
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(file)
    with pytest.raises(FileNotFoundError, match="found nothing"):
        read_weights(tmp_path / "absent.pth")


def test_run_is_evaluated_but_not_continued(
    imitate: Any, save: Any, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = save(imitate("SIE")), tmp_path / "run"
    file.with_name("params.json").write_text(json.dumps({"experience": "SIE", "equi_factor": 0.45}))
    assert cli.main(["import", "sie", str(file), "--out", str(run), "--sign", "legacy_negated"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(run)
    assert "left out: evaluator" in printed.err and "legacy_negated" in printed.err
    config = load_config(run / "config.yaml")
    assert config.method.init_args["sign"] == "legacy_negated"
    with pytest.raises(ValueError, match="--store"):
        evaluate(run)
    quick: dict[str, Any] = {"steps": 20, "batch_size": 8}
    probes = EvaluateConfig(
        classification=LinearProbeConfig(**quick),
        rotation=RotationProbeConfig(hidden=(16,), **quick),
        hue=HueProbeConfig(**quick),
    )
    results = evaluate(run, probes, store=small_store)
    assert results["method"] == "SIE" and results["views_seen"] is None
    assert results["imported/option"] == "SIE" and results["imported/epoch"] == 2000
    assert 0 <= results["classification/all/top1"] <= 1
    assert results["predictor/equivariance"] >= 0
    with pytest.raises(ConfigError, match="nothing to continue from"):
        pretrain(config, run)
    with pytest.raises(WeightsError, match="not free"):
        import_weights("sie", file, run)
    assert read_checkpoint(run / "checkpoints/last.ckpt")["equissl"]["imported"]["file"] == "model.pth"
