"""Every model of SIE's repository, under the authors' names, computes the same here after its import."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from published_sie import OPTIONS, Published
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import threediebench_schema
from equissl.geometry import euler_to_rotmat
from equissl.runs import load_config, load_method
from equissl.weights import WeightsError, import_weights

WIDTH = 64 if os.environ.get("PUBLISHED_SIZES") == "1" else 8  # of the backbone; 64 is the published one
SMALL: dict[str, Any] = {"width": WIDTH, "equi": 3 * WIDTH, "mlp": "-".join([str(16 * WIDTH)] * 3)}
ODD = {
    "simclr_temp": 0.23, "ec_weight": 1.7, "sim_coeff": 7.0, "equi_factor": 0.37, "std_coeff": 9.0, "cov_coeff": 1.3
}  # fmt: skip
TABLES = {
    "SIE": "SIE", "SIENoVar": "SIE", "VICReg": "VICReg", "SimCLR": "SimCLR", "SimCLREquiMod": "SimCLREquiMod",
    "VICRegEquiMod": "SimCLREquiMod", "SimCLRAugSelf": "SimCLRAugSelf",
}  # fmt: skip
# trainable parameters without and of the online evaluator
COUNTS = {
    "SIE": (20_105_920, 44_821_996), "SIENoVar": (20_105_920, 44_821_996), "SIERotColor": (22_203_072, 44_821_996),
    "SIEOnlyEqui": (37_407_424, 71_505_534), "SimCLROnlyEqui": (37_407_424, 71_505_534),
    "SimCLROnlyEquiRotColor": (45_796_032, 71_505_534), "VICReg": (20_630_208, 35_964_132),
    "SimCLR": (20_630_208, 35_964_132), "VICRegPartInv": (20_630_208, 36_477_416),
    "SimCLRAugSelf": (22_733_508, 35_964_132), "SimCLRAugSelfRotColor": (22_735_558, 35_964_132),
    "VICRegEquiMod": (46_856_896, 172_418_741), "SimCLREquiMod": (46_856_896, 172_418_741),
    "SimCLREquiModRotColor": (55_245_504, 172_418_741),
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_the_transcription_has_the_authors_names_and_sizes(option: str, golden: Path) -> None:
    with torch.device("meta"):
        model = Published(option)
    state = model.state_dict()
    if option in TABLES:
        lines = (golden / f"official_keys_{TABLES[option]}.tsv").read_text().splitlines()[1:]
        table = {key: shape for key, shape, _ in (line.split("\t") for line in lines)}
        assert {key: "x".join(map(str, value.shape)) or "scalar" for key, value in state.items()} == table
    heads = sum(parameter.numel() for parameter in model.evaluator.parameters())
    assert (sum(parameter.numel() for parameter in model.parameters()) - heads, heads) == COUNTS[option]


def published(option: str, seed: int = 0, **given: Any) -> Published:
    """A model with values that matter in every place: statistics and weights of norms too."""
    torch.manual_seed(seed)
    model = Published(option, **{**SMALL, **given})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def batch() -> ViewBatch:
    generator = torch.Generator().manual_seed(5)
    latents = torch.rand(8, 2, 7, generator=generator, dtype=torch.float64) * 3 - 1.5
    images = torch.randn(8, 2, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.zeros(8, dtype=torch.long)
    return ViewBatch(images, euler_to_rotmat(latents[..., :3]), latents, labels, threediebench_schema())


def action(batch: ViewBatch, option: str) -> Tensor:
    """Actions of the authors' data sets: the relative quaternion, by SciPy, and the differences of the two hues."""
    first, second = (Rotation.from_euler("xyz", batch.latents[:, view, :3].numpy()) for view in (0, 1))
    found = torch.from_numpy((first.inv() * second).as_quat())
    hues = batch.latents[:, 1, [3, 6]] - batch.latents[:, 0, [3, 6]]
    return torch.cat([found, hues], dim=1) if option.endswith("RotColor") else found


def compare(model: Published, option: str, run: Path, batch: ViewBatch) -> None:
    """Loss in evaluation and in training mode, and the gradient of the first convolution, in float64."""
    ours, theirs = load_method(run)[0].double(), model.double()
    for mode in (False, True):
        ours.train(mode).zero_grad()
        theirs.train(mode).zero_grad()
        losses = ours.step(batch).loss, theirs(batch.images[:, 0], batch.images[:, 1], action(batch, option))
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)
        sum(losses).backward()
        found, expected = ours.encoder.conv1.weight.grad, theirs.backbone.conv1.weight.grad
        assert (found - expected).norm() < 1e-9 * expected.norm()


def write(model: Published, save: Callable[..., Path], **params: Any) -> Path:
    file = save(model.state_dict())
    file.with_name("params.json").write_text(json.dumps(model.args | params))
    return file


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_computes_what_the_authors_model_does(
    option: str, batch: ViewBatch, save: Callable[..., Path], tmp_path: Path
) -> None:
    model = published(option, **ODD)
    file = write(model, save, experience=option, arch="resnet18", batch_size=8, base_lr=2e-3, wd=1e-5, no_amp=True)
    report = import_weights("sie", file, tmp_path / "run", sign="legacy" if with_action(option) else None)
    assert (report.option, [m for m in report.messages if m.startswith("assumed")]) == (option, [])
    compare(model, option, tmp_path / "run", batch)
    config = load_config(tmp_path / "run/config.yaml")
    assert (config.data.batch_size, config.optim.lr, config.optim.weight_decay) == (8, 2e-3, 1e-5)
    assert (config.trainer.max_epochs, config.trainer.precision) == (2000, "32")
    written = str(yaml.safe_load((tmp_path / "run/config.yaml").read_text())["method"])
    for name in USED[option]:
        assert str(ODD[name]) in written, name


def with_action(option: str) -> bool:
    return not (option.startswith("VICReg") and "EquiMod" not in option) and option != "SimCLR"


_VICREG, _TERMS = ("sim_coeff", "std_coeff", "cov_coeff"), ("sim_coeff", "std_coeff", "cov_coeff", "equi_factor")
USED = {
    "SIE": _TERMS, "SIENoVar": _TERMS, "SIERotColor": _TERMS, "SIEOnlyEqui": _VICREG, "VICReg": _VICREG,
    "VICRegPartInv": _VICREG, "VICRegEquiMod": _TERMS, "SimCLR": ("simclr_temp",), "SimCLROnlyEqui": ("simclr_temp",),
    "SimCLROnlyEquiRotColor": ("simclr_temp",), "SimCLREquiMod": ("simclr_temp", "equi_factor"),
    "SimCLREquiModRotColor": ("simclr_temp",), "SimCLRAugSelf": ("simclr_temp", "ec_weight"),
    "SimCLRAugSelfRotColor": ("simclr_temp", "ec_weight"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("SIE", {"predictor_type": "mlp"}),
        ("SimCLREquiModRotColor", {"predictor_type": "mlp", "tf_num_layers": 3}),
        ("SimCLROnlyEqui", {"hypernetwork": "deep"}),
        ("VICRegEquiMod", {"bias_pred": True}),
        ("SIERotColor", {"bias_hypernet": True, "hypernetwork": "deep"}),
        ("SIE", {"predictor": "24-12", "predictor_relu": True, "bias_pred": True}),
        ("SIEOnlyEqui", {"predictor": "64"}),  # as many numbers as one layer of 128
    ],
)
def test_every_predictor(
    option: str, given: dict[str, Any], batch: ViewBatch, save: Callable[..., Path], tmp_path: Path
) -> None:
    model = published(option, **given)
    import_weights("sie", write(model, save, experience=option), tmp_path / "run")
    compare(model, option, tmp_path / "run", batch)


def test_what_the_file_cannot_tell_is_asked_or_said(save: Callable[..., Path], tmp_path: Path) -> None:
    def notes(model: str, name: str, **flags: Any) -> str:
        report = import_weights("sie", save(published(model).state_dict()), tmp_path / name, **flags)
        return "\n".join(message for message in report.messages if message.startswith("assumed"))

    said = notes("SIE", "a")
    for part in (
        "taken for SIE: SIENoVar would have",
        "equi_factor 0.45",
        "sign legacy",
        "single layer",
        "arch resnet18",
    ):
        assert part in said
    said = notes("SimCLROnlyEqui", "b", sign="legacy_negated", option="SIEOnlyEqui")
    assert "sign" not in said and "taken for" not in said and "sim_coeff 10" in said
    assert load_method(tmp_path / "b")[1].method.init_args["equivariant"]["name"] == "vicreg_prediction"
    assert "equi_factor 4.5" in notes("SimCLREquiMod", "c")
    with pytest.raises(WeightsError, match="what --frame, --num_heads would say"):
        notes("SIE", "d", frame="base", num_heads=8)
    with pytest.raises(WeightsError, match="those of SimCLROnlyEqui or SIEOnlyEqui, not of 'SIE'"):
        notes("SimCLROnlyEqui", "d", option="SIE")
    part = {key: value for key, value in published("VICRegPartInv").state_dict().items() if "evaluator" not in key}
    with pytest.raises(WeightsError, match="as --equi, or in a params"):
        import_weights("sie", save(part), tmp_path / "d", option="VICRegPartInv")
    import_weights("sie", save(part), tmp_path / "d", option="VICRegPartInv", equi=10)
    assert load_method(tmp_path / "d")[0].inv_dim == 16 * WIDTH - 10


def test_arguments_that_do_not_fit_are_refused(save: Callable[..., Path], tmp_path: Path) -> None:
    model = published("SIE")
    for params, message in (
        ({"arch": "resnet18_no_relu"}, "but it computes something else"),
        ({"sim_coeff": "10"}, "expected a number as sim_coeff of the training script, got '10'"),
        ({"experience": "VICReg"}, "not of 'VICReg'"),
        ({"predictor": "7"}, "a target network of layers"),
    ):
        with pytest.raises(WeightsError, match=message):
            import_weights("sie", write(model, save, **params), tmp_path / "run")
    file = write(model, save)
    file.with_name("params.json").write_text("[1]")
    with pytest.raises(WeightsError, match="JSON object of arguments by name, got list"):
        import_weights("sie", file, tmp_path / "run")
    elsewhere = tmp_path / "other.json"
    elsewhere.write_text(json.dumps({"experience": "SIENoVar"}))
    assert import_weights("sie", file, tmp_path / "run", params=elsewhere).option == "SIENoVar"
