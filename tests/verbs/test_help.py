"""Help of the verbs: short enough to read, whole where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl import cli
from equissl.util.recipes import recipe_names

SCREENS = 100  # lines of two screens


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as long as help ever makes them: where they are cut depends on the terminal."""
    monkeypatch.setenv("COLUMNS", "100")


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        assert cli.main(words) == 0
    except SystemExit as stop:
        assert stop.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "evaluate"])
def test_two_screens(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown([verb, "--help"], capsys).splitlines()) <= SCREENS


def test_two_screens_with_every_recipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in recipe_names():
        verb = "finetune" if name.startswith("detection/") else "pretrain"
        lines = shown([verb, "--config", name, "--help"], capsys).splitlines()
        assert len(lines) <= SCREENS, name
        assert max(len(line) for line in lines if line.startswith("  ")) <= 80


@pytest.mark.parametrize(
    ("kind", "flag"),
    [("views", "--protocols"), ("images", "--neighbours"), ("drives", "--wedge"), ("sweeps", "--device"),
     ("videos", "--device"), ("interactions", "--exclude_seen")],
)  # fmt: skip
def test_two_screens_of_a_run(kind: str, flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "config.yaml").write_text(f"data: {{kind: {kind}}}\n")
    text = shown(["evaluate", str(tmp_path), "--help"], capsys)
    assert flag in text and len(text.splitlines()) <= SCREENS


def test_arguments_of_a_method_with_their_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["pretrain", "--method.help", "SIE"], capsys)
    assert "--method.equi (float, default 0.45)\n      weight of the equivariance term, relative to sim." in text
    assert "--method.encoder.stem (Stem, default reference)" in text  # of a dataclass inside
    assert "One of hypernetwork, mlp, " in " ".join(text.split())  # and whatever else is registered
    assert "--trainer" not in text
    assert shown(["pretrain", "--method.help", "FERNN"], capsys) != text


def test_the_config_s_values_stand_in_place_of_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["pretrain", "--config", "demo_sie", "--optim.lr", "0.25", "--help"], capsys)
    assert "[0.25] learning rate, the highest one of the schedule" in text
    assert "[400] optimiser steps" in text  # of the recipe; there is no default
    assert "--method.predictor_options      [{'init': 'identity'}]" in text  # a dictionary is a value too


def test_one_section_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "--config", "demo_sie"]
    section = shown([*words, "--trainer.help"], capsys)
    assert "--trainer.strategy" in section and "--optim.lr" not in section
    whole = shown([*words, "--help", "all"], capsys)
    assert all(line in whole for line in section.splitlines()[1:])
    assert "--data.live.renderer_options" in whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "--method.help", "SIEE"], "did you mean 'SIE'"),
        (["pretrain", "--trainr.help"], "unknown flag --trainr"),
        (["pretrain", "--method.encoder.help"], "expected --config or --method to say whose argument 'encoder' is"),
    ],
)
def test_help_about_what_is_not_there(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err
