"""Every system of the literature, killed outright and continued: it ends with the bits of a run that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed_runs import killed_run, logged, same_weights

from equissl.bench.systems import SYSTEMS, MadeData, make_data
from equissl.runs import PretrainConfig, load_config
from equissl.training import pretrain
from equissl.util.runfolder import CONFIG_FILE

#: Settings of methods wherever they stand, so that a step takes milliseconds.
NARROW = {"width": 4, "embed_dim": 16, "depth": 2, "decoder_width": 8, "projector": [16, 16], "words": 16,
          "num_items": 20, "dim": 8}  # fmt: skip
WIDTH = ("width", 64)  # the default, which an encoder of another library has to keep
MADE = MadeData(images=80, image_size=32, objects=24, view_size=32, users=60, items=20)
CASES = {name: system.config for name, system in SYSTEMS.items()}
BASELINES = {
    recipe: lambda folder, system=system, recipe=recipe: system.baseline_configs(folder)[recipe]
    for system in SYSTEMS.values()
    for recipe in system.baselines
}
CASES |= BASELINES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_data(folder, MADE)
    return folder


@pytest.fixture(scope="module")
def base(made: Path) -> Path:
    """A run whose encoder is fine-tuned."""
    return pretrain(small(CASES["cifar10_simclr"](made), max_steps=1), made / "base")


@pytest.fixture(scope="module")
def translator(made: Path) -> Path:
    return pretrain(small(CASES["translator"](made), max_steps=1), made / "translator_run")


def small(config: PretrainConfig, max_steps: int = 4) -> PretrainConfig:
    """A config of a few milliseconds a step, in 32 bits on the CPU."""
    data = replace(config.data, batch_size=8)
    if getattr(data, "queries", None) is not None:
        data = replace(data, queries=replace(data.queries, count=24))
    trainer = replace(
        config.trainer, max_steps=max_steps, checkpoint_every=2, log_every=1, precision="32", accelerator="cpu"
    )
    method = replace(config.method, init_args=narrowed(config.method.init_args))
    return replace(config, method=method, data=data, trainer=trainer)


def narrowed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    given = {key for key in NARROW if tree.get(key) is not None and (key, tree[key]) != WIDTH}
    return {key: NARROW[key] if key in given else narrowed(value) for key, value in tree.items()}


@pytest.mark.parametrize("name", [*SYSTEMS, *(pytest.param(name, marks=pytest.mark.slow) for name in BASELINES)])
def test_a_killed_run_continues_to_the_same_bits(name: str, made: Path, tmp_path: Path, request) -> None:
    config = small(CASES[name](made))
    arguments = config.method.init_args
    if "translator_run" in arguments:
        arguments["translator_run"] = str(request.getfixturevalue("translator"))
    if config.method.class_path in ("Classifier", "CoreTuning"):
        start = request.getfixturevalue("base")
        arguments["encoder"] = load_config(start / CONFIG_FILE).method.init_args["encoder"]
        config = replace(config, init=str(start))
    whole, cut = pretrain(config, tmp_path / "whole"), tmp_path / "cut"
    assert killed_run(config, cut, step=3) == 2
    pretrain(config, cut)
    assert same_weights(whole, cut) and logged(whole) == logged(cut)
