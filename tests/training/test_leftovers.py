"""A run that fails before its first step leaves nothing behind; one that fails later leaves what it has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl import cli
from equissl.methods.views.sie import SIE
from equissl.runs import ConfigError, PretrainConfig
from equissl.training import pretrain
from equissl.training.launch import ProcessError
from equissl.training.observers import Observer


class Fails(Observer):
    """Failure before the batch of a number."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def before_batch(self, loop: Any, batch: Any) -> None:
        if loop.batch == self.batch:
            raise RuntimeError("here")


def broken(*_: Any) -> None:
    raise torch.OutOfMemoryError("too large")


def test_nothing_is_left_of_a_first_step_that_fails(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SIE, "step", broken)
    with pytest.raises(torch.OutOfMemoryError):
        pretrain(make_config(loggers=["csv", "tensorboard"]), tmp_path / "runs" / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["sie", "sie/seed0"])
def test_runs_that_began_meanwhile_are_not_touched(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    def beside(*_: Any) -> None:
        (tmp_path / other).mkdir(parents=True)
        (tmp_path / other / "config.yaml").write_text("seed: 0\n")
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(SIE, "step", beside)
    with pytest.raises(torch.OutOfMemoryError):
        pretrain(make_config(), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == [f"{other}/config.yaml"]


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"store": "nowhere.h5"}])
def test_nothing_is_left_of_wrong_data(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, change: dict[str, Any]
) -> None:
    config = make_config()
    with pytest.raises((ValueError, OSError)):
        pretrain(replace(config, data=replace(config.data, **change)), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_weights_that_cannot_be_read(
    make_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    with pytest.raises((ValueError, OSError)):
        pretrain(replace(make_config(), init=str(tmp_path / "weights")), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_what_was_there_stays_as_it_was(make_config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "config.yaml").write_text("# mine\nseed: 0\n")
    with pytest.raises(RuntimeError, match="here"):
        pretrain(make_config(), tmp_path, [Fails(0)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "notes.txt": "mine",
        "config.yaml": "# mine\nseed: 0\n",
    }


def test_another_run_beside_it_stays(make_config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    class Neighbour(Fails):
        def before_batch(self, loop: Any, batch: Any) -> None:
            (tmp_path / "runs" / "b").mkdir()
            super().before_batch(loop, batch)

    with pytest.raises(RuntimeError, match="here"):
        pretrain(make_config(), tmp_path / "runs" / "a", [Neighbour(0)])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["b"]


def test_a_run_that_fails_later_stays(make_config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="here"):
        pretrain(make_config(log_every=50), tmp_path / "run", [Fails(3)])
    assert (tmp_path / "run" / "config.yaml").is_file() and (tmp_path / "run" / "metrics.csv").is_file()


def test_a_continued_run_that_fails_at_once_stays(make_config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    pretrain(make_config(max_steps=5), tmp_path)
    with pytest.raises(RuntimeError, match="here"):
        pretrain(make_config(max_steps=8), tmp_path, [Fails(5)])
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_nothing_is_left_of_several_processes(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(function: Any, args: tuple[PretrainConfig, Path], trainer: Any) -> None:
        args[1].mkdir(parents=True)  # as the first process does
        (args[1] / "config.yaml").touch()
        raise ProcessError("process 1 failed")

    monkeypatch.setattr(sys.modules["equissl.training.pretrain"], "launch_processes", launch)
    with pytest.raises(ProcessError):
        pretrain(make_config(devices=2), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_small_stores_name_the_flag(
    make_config: Callable[..., PretrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_config().data.store  # type: ignore[attr-defined]
    words = ["pretrain", "--config", "demo_sie", "--data.store", store, "--out", str(tmp_path / "run")]
    assert cli.main(words) == 2
    text = capsys.readouterr().err
    assert "expected at least data.batch_size = 128, got 24 objects in split 'train' of" in text
    assert "take --data.batch_size 24 or less, or --data.drop_last false" in text


def test_a_last_batch_of_one_is_refused(
    make_config: Callable[..., PretrainConfig], open_data: Callable[..., Any], tmp_path: Path
) -> None:
    config = make_config()
    with pytest.raises(ConfigError, match="leaves a last batch of one"):
        pretrain(replace(config, data=replace(config.data, batch_size=23, drop_last=False)), tmp_path / "run")
