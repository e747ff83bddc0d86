"""The demo's bookkeeping; the demo itself is what `make demo` runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import equissl.evaluation
import equissl.reporting
from equissl import demo
from equissl.demo import DemoError, DemoTask, choose_meshes, claim_folder, method_run
from equissl.runs.configfile import load_config
from equissl.util.runfolder import CONFIG_FILE, LAST


def test_a_folder_belongs_to_one_demo(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"seed": 0, "rotation_range": (0.0, 1.0)})
    claim_folder(tmp_path, {"seed": 0, "rotation_range": (0.0, 1.0)})
    with pytest.raises(DemoError, match="seed: 0 there, 1 asked for"):
        claim_folder(tmp_path, {"seed": 1, "rotation_range": (0.0, 1.0)})


def test_without_furniture_the_demo_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("equissl.demo.sweethome3d_available", lambda: False)
    task = choose_meshes(DemoTask(), None)
    assert task.meshes == "procedural" and len(task.classes) > 1
    assert ["procedural" in message for message in caplog.messages] == [True]
    monkeypatch.setattr("equissl.demo.sweethome3d_available", lambda: True)
    assert choose_meshes(DemoTask(), None).meshes == "sweethome3d+procedural"
    assert choose_meshes(DemoTask(), "procedural").meshes == "procedural"
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("name", demo.METHODS)
def test_every_method_of_the_demo_has_a_config_that_takes_the_demos_flags(name: str, tmp_path: Path) -> None:
    task = replace(DemoTask(), size=32, steps=7, batch_size=4)
    command = method_run(name, tmp_path, task, seed=3).stages["pretrain"]
    flags = [word for word in command if word.startswith("--") and not word.startswith(("--config", "--out"))]
    config = load_config(f"demo_{name}", flags)
    assert (config.seed, config.trainer.max_steps) == (3, 7)
    assert config.data.batch_size * config.method.init_args.get("views", 2) == 8  # as many views as 4 pairs have
    assert config.data.store == str(tmp_path / "views.h5")
    assert config.method.init_args.get("image_size", 32) == 32


def test_evaluation_takes_the_demos_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from equissl import cli

    seen = {}
    (tmp_path / "sie" / LAST).parent.mkdir(parents=True)
    (tmp_path / "sie" / LAST).touch()
    (tmp_path / "sie" / CONFIG_FILE).write_text("data: {kind: views}\n")
    monkeypatch.setattr(equissl.evaluation, "evaluate", lambda run, options, **_: seen.update(config=options))
    monkeypatch.setattr(equissl.reporting, "format_table", lambda results: "")
    command = method_run("sie", tmp_path, replace(DemoTask(), rotation_steps=5, val_pairs=3), seed=7).stages["evaluate"]
    assert cli.main(command[command.index("evaluate") :]) == 0
    config = seen["config"]
    assert (config.rotation.steps, config.rotation.val_pairs, config.seed, config.standardize) == (5, 3, 7, True)


def test_methods_that_are_evaluated_are_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "sie").mkdir()
    (tmp_path / "sie" / "results.json").write_text("{}")
    assert method_run("sie", tmp_path, DemoTask(), 0).finished
    assert not method_run("vicreg", tmp_path, DemoTask(), 0).finished
