"""Configs: what is accepted, what is refused and how, and that a saved one is the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from equissl.runs import ConfigError, build_method, load_config, save_config
from equissl.runs.checkpoint import changed_keys
from equissl.util.overrides import parse_overrides
from equissl.util.recipes import find_config

RECIPES = [
    *(f"3diebench_{name}" for name in ("sie", "vicreg", "simclr", "equicaps", "supervised")),
    "3diebench_capsie",
    "3diebench_t_equicaps",
    "3diebench_group_equivariant",
    "demo_group_equivariant",
    *(f"demo_{name}" for name in ("vicreg", "sie", "equicaps", "supervised", "sirl")),
    "demo_seq_jepa",
    "3diebench_seq_jepa",
    "3diebench_seq_jepa_released",
    *(f"cifar10_{name}" for name in ("simclr", "vicreg", "byol", "swav", "cmim", "mim", "vae")),
    *(f"cifar10_{name}" for name in ("mae", "mixed_ae", "naive_mixing")),
    *("core_tuning", "fine_tuning", "linear_probe"),
    *("demo_custom_contrast", "demo_info_nce", "demo_cmim"),
    *(f"cifar10_{name}" for name in ("hallucinator", "hydra", "supcon", "obow")),
    "demo_hydra",
    "cifar10_adainf",
    *(f"biased_{name}" for name in ("erm", "simclr", "translator", "cdvg", "cdvg_simclr")),
    "cifar100_seq_jepa",
    "stl10_seq_jepa",
    *(f"paired_{name}" for name in ("clip", "equivariant", "tcl", "m3col")),
    *(f"interactions_{name}" for name in ("sasrec", "mclrec", "mclrec_joint")),
    "demo_essl3d",
    "demo_sie_published",
    "demo_mcl",
    "demo_strl",
    *(f"fernn_{name}" for name in ("translation", "rotation", "classification", "small")),
    *(f"fernn_{name}_small" for name in ("rotation", "quarter_turns", "classification")),
]


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "run.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


MINIMAL = "method: {class_path: SIE}\ndata: {store: a.h5}\ntrainer: {max_steps: 3}\n"


@pytest.mark.parametrize("name", RECIPES)
def test_packaged_recipes_resolve_build_and_round_trip(name, tmp_path) -> None:
    config = load_config(name)
    with torch.device("meta"):
        build_method(config.method)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_every_packaged_file_is_tested() -> None:
    folder = find_config("demo_sie").parent
    assert sorted(RECIPES) == sorted(p.stem for p in folder.glob("*.yaml") if not p.stem.startswith("_"))


@pytest.mark.parametrize(
    ("name", "parameters", "batch"),
    [
        ("sie", 20_105_920, 1024),
        ("vicreg", 20_630_208, 1024),
        ("simclr", 20_630_208, 1024),
        ("equicaps", 18_619_712, 256),
    ],
)
def test_published_recipes(name, parameters, batch) -> None:
    # parameter counts of the published models at their default sizes
    config = load_config(f"3diebench_{name}")
    with torch.device("meta"):
        method = build_method(config.method)
    assert sum(p.numel() for p in method.parameters()) == parameters
    assert (config.optim.lr, config.optim.weight_decay, config.data.batch_size) == (1e-3, 1e-6, batch)
    assert config.trainer.max_epochs == 2000


@pytest.mark.parametrize(
    ("name", "drop_last", "precision"),
    [
        *((f"3diebench_{name}", False, "16") for name in ("sie", "equicaps", "t_equicaps", "vicreg", "capsie")),
        *((name, False, "32") for name in ("3diebench_seq_jepa", "3diebench_seq_jepa_released", "cifar100_seq_jepa")),
        *((name, False, "32") for name in ("stl10_seq_jepa", "fernn_translation", "fernn_rotation")),
    ],
)
def test_last_batch_and_precision_are_the_authors(name: str, drop_last: bool, precision: str) -> None:
    config = load_config(name)
    assert (config.data.drop_last, config.trainer.precision) == (drop_last, precision)


def test_published_recipes_of_fernn() -> None:
    translation, rotation = load_config("fernn_translation"), load_config("fernn_rotation")
    assert (translation.optim.lr, translation.data.batch_size, translation.optim.clip) == (1e-3, 128, 1.0)
    assert (rotation.optim.lr, rotation.data.batch_size, rotation.optim.clip) == (1e-4, 32, None)
    given = rotation.method.init_args
    names = ("timing", "coordinates", "decoder", "ring_width", "radius", "channels")
    assert [given[name] for name in names] == ["published", "image", "plain", 0.4, 4, 32]
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_method(rotation.method).parameters())
    assert parameters == 48_007_488


def test_defaults_and_overrides(write) -> None:
    file = write(MINIMAL)
    config = load_config(
        file, ["--method.init_args.sim", "5", "--trainer.precision=32", "--optim.lr", "1e-2", "--seed=3"]
    )
    assert config.method.init_args["sim"] == 5.0
    assert config.method.init_args["equi"] == 0.45
    assert config.trainer.precision == "32"
    assert config.optim.lr == 0.01
    assert config.seed == 3
    assert load_config(file, ["--method.sim", "5"]).method.init_args["sim"] == 5.0
    assert load_config(file, ["--method.encoder.width", "16"]).method.init_args["encoder"]["width"] == 16


def test_another_method_drops_the_arguments_of_the_first(write) -> None:
    file = write("method: {class_path: SIE, init_args: {equi_dim: 8}}\ndata: {store: a.h5}\ntrainer: {max_steps: 3}\n")
    config = load_config(file, ["--method", "VICReg", "--method.std", "2"])
    assert config.method.class_path == "VICReg"
    assert config.method.init_args["std"] == 2.0
    assert "equi_dim" not in config.method.init_args


def test_config_from_the_command_line_alone() -> None:
    config = load_config(None, ["--method", "VICReg", "--data.store", "a.h5", "--trainer.max_epochs", "1"])
    assert config.method.class_path == "VICReg"


def test_base_file_is_under_the_recipe(write) -> None:
    write("data: {store: base.h5, batch_size: 8}\ntrainer: {max_steps: 3, log_every: 7}\n", "_base.yaml")
    config = load_config(write("base: _base.yaml\nmethod: {class_path: SIE}\ntrainer: {log_every: 9}\n"))
    assert (config.data.batch_size, config.trainer.max_steps, config.trainer.log_every) == (8, 3, 9)


def test_base_may_be_a_packaged_recipe(write) -> None:
    packaged = load_config("cifar10_simclr")
    config = load_config(write("base: cifar10_simclr\ntrainer: {max_steps: 3}\n"))
    assert config.method == packaged.method and config.data == packaged.data and config.trainer.max_steps == 3


def test_missing_base_is_named(write) -> None:
    with pytest.raises(ConfigError, match="its base 'cifar10_simcl' is no packaged config and not in"):
        load_config(write("base: cifar10_simcl\n"))


def test_base_has_one_level(write) -> None:
    write("base: other.yaml\n", "_base.yaml")
    with pytest.raises(ConfigError, match="one level"):
        load_config(write("base: _base.yaml\n"))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "optim: {lrr: 1}\n", [], r"run.yaml: unknown key 'optim.lrr' \(did you mean 'optim.lr'\?\)"),
        (MINIMAL, ["--trainer.max_step", "5"], "did you mean 'trainer.max_steps'"),
        (MINIMAL, ["--max_steps", "5"], "did you mean 'trainer.max_steps'"),
        (MINIMAL, ["--method.simm", "5"], "did you mean 'method.init_args.sim'"),
        (MINIMAL, ["--method.encoder.widht", "5"], "did you mean 'method.init_args.encoder.width'"),
        (MINIMAL, ["--method", "VICRe"], "did you mean 'VICReg'"),
        (MINIMAL, ["--method", "no.such.Method"], "cannot import method"),
        (MINIMAL, ["--optim.lr", "fast"], r"(?s)optim.lr.*float.*fast"),
        (MINIMAL, ["--optim.lr", "0"], "optim.lr above 0, got 0"),
        (MINIMAL, ["--data.batch_size", "0"], "data.batch_size of at least 1, got 0"),
        (MINIMAL, ["--trainer.max_steps", "null"], "got neither"),
        (MINIMAL, ["--trainer.max_steps"], "expected a value after --trainer.max_steps"),
        (MINIMAL, ["trainer.max_steps", "3"], "expected --key value"),
        ("method: {class_path: SIE}\n", [], "max_steps to say when the run ends"),
        ("data: {store: a}\n", [], "expected method.class_path, one of"),
        ("- 1\n", [], "expected a mapping"),
        ("a: [\n", [], "not a YAML file"),
    ],
)
def test_bad_configs_are_refused(write, text, overrides, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(text), overrides)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'demo_sie'"):
        load_config("demo_si")


def test_method_from_elsewhere_by_import_path(write, monkeypatch, tmp_path) -> None:
    (tmp_path / "elsewhere_method.py").write_text(
        "from equissl.methods import VICReg\n\n\nclass Mine(VICReg):\n"
        "    def __init__(self, extra: int = 3):\n        super().__init__()\n        self.extra = extra\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config(write(MINIMAL.replace("SIE", "elsewhere_method.Mine")), ["--method.extra", "4"])
    assert config.method.class_path == "elsewhere_method.Mine"
    with torch.device("meta"):
        assert build_method(config.method).extra == 4


def test_overrides_are_yaml() -> None:
    assert parse_overrides(["--a.b", "[1, 2]", "--a.c=x=y", "--d", "null"]) == {
        "a": {"b": [1, 2], "c": "x=y"},
        "d": None,
    }


def test_seed_decides_the_weights() -> None:
    config = load_config("demo_vicreg", ["--method.encoder.width", "4", "--method.projector", "[8]"])
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(next(build_method(config.method).parameters()))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_only_length_and_harmless_keys_may_change() -> None:
    old = {"trainer": {"max_steps": 5, "max_epochs": None, "threads": 1}, "data": {"workers": 0}, "seed": 0}
    new = {"trainer": {"max_steps": 9, "max_epochs": None, "threads": 2}, "data": {"workers": 4}, "seed": 1}
    assert changed_keys(old, new) == {"seed": (0, 1)}
    assert changed_keys(new, old).keys() == {"seed", "trainer.max_steps"}


def test_saved_config_is_plain_yaml(write, tmp_path) -> None:
    save_config(load_config(write(MINIMAL)), tmp_path / "out.yaml")
    tree = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert tree["method"]["init_args"]["encoder"] == {
        "name": "resnet18",
        "width": 64,
        "stem": "reference",
        "options": {},
        "pixel_mean": [0.5016, 0.5037, 0.5060],
        "pixel_std": [0.1030, 0.0999, 0.0969],
    }
