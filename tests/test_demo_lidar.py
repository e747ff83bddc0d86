"""The LiDAR demo: its bookkeeping, and the whole chain at the smallest size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from equissl import cli
from equissl.demo import DemoError
from equissl.demo_lidar import DRIVES, LABEL_FREE, METHODS, LidarTask, method_run, run_lidar_demo, simulate
from equissl.runs.configfile import load_config

TINY = LidarTask(drives=4, sweeps=3, beams=8, columns=80, max_range=25.0, steps=2, batch_size=2, pairs=1,
                 probe_sweeps=2, rotations=2)  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_demo_has_a_config_that_takes_the_demos_flags(name: str, tmp_path: Path) -> None:
    command = method_run(name, tmp_path, replace(TINY, steps=7, batch_size=3), seed=5).stages["pretrain"]
    flags = [word for word in command if word.startswith("--") and not word.startswith(("--config", "--out"))]
    config = load_config(f"demo_{name}", flags)
    assert (config.seed, config.trainer.max_steps, config.data.batch_size) == (5, 7, 3)
    assert config.data.store == str(tmp_path / LABEL_FREE)


def test_methods_have_the_same_encoder_and_budget() -> None:
    configs = [load_config(f"demo_{name}") for name in METHODS]
    assert len({str(config.method.init_args["encoder"]) for config in configs}) == 1
    assert len({str((config.data, config.optim, config.trainer)) for config in configs}) == 1


def test_exact_flow_is_one_word_away(tmp_path: Path) -> None:
    command = method_run("essl3d", tmp_path, replace(TINY, flow="simulated"), 0).stages["pretrain"]
    assert f"--data.store={tmp_path / DRIVES}" in command


def test_drives_follow_from_the_seed_and_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "equissl")
    for name in ("a.h5", "b.h5"):
        simulate(tmp_path / name, replace(TINY, drives=2), 3)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    before = (tmp_path / "a.h5").stat().st_mtime_ns
    simulate(tmp_path / "a.h5", TINY, 3)
    assert (tmp_path / "a.h5").stat().st_mtime_ns == before and "already" in caplog.messages[-1]


def test_the_command_line_knows_both_demos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    seen: dict = {}
    monkeypatch.setattr("equissl.demo_lidar.run_lidar_demo", lambda out="x", seed=0, task=None: seen.update(
        out=out, seed=seed, task=task))  # fmt: skip
    assert cli.main(["demo", "lidar", "--out", "runs/l", "--task.steps", "9"]) == 0
    assert str(seen["out"]) == "runs/l" and seen["task"].steps == 9
    assert cli.main(["demo", "lidr"]) == 2
    assert "did you mean 'lidar'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_chain_ends_with_a_page_and_starts_again_where_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "equissl")
    results = run_lidar_demo(tmp_path, seed=1, task=TINY)
    assert sum("pretrain took" in message for message in caplog.messages) == 2
    assert [result["label"] for result in results] == ["E-SSL3D", "STRL"]
    assert results[0]["equivariance/flow/initial"] == results[1]["equivariance/flow/initial"]
    page = (tmp_path / "report.html").read_text()
    assert "E-SSL3D" in page and page.count("data:image/png") >= 4
    caplog.clear()
    assert run_lidar_demo(tmp_path, seed=1, task=TINY) == results
    assert not any("pretrain took" in message for message in caplog.messages)
    with pytest.raises(DemoError, match="steps: 2 there, 3 asked for"):
        run_lidar_demo(tmp_path, seed=1, task=replace(TINY, steps=3))
