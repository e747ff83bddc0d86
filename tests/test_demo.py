"""The demo's bookkeeping; the demo itself is what `make demo` runs."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from equissl import demo
from equissl.demo import DemoError, DemoTask, choose_meshes, claim_folder, method_job
from equissl.runs.configfile import load_config
from equissl.util import jobs
from equissl.util.jobs import Job, JobError, run_jobs


def job(tmp_path: Path, name: str, *scripts: str) -> Job:
    return Job(
        name,
        [[sys.executable, "-c", s] for s in scripts],
        tmp_path / f"{name}.log",
        [f"stage{i}" for i in range(len(scripts))],
    )


def test_commands_of_a_job_run_in_order_and_jobs_side_by_side(tmp_path: Path) -> None:
    said: list[str] = []
    first = job(
        tmp_path, "a", f"open({str(tmp_path / 'x')!r}, 'w').write('1')", f"print(open({str(tmp_path / 'x')!r}).read())"
    )
    started = time.monotonic()
    sleepers = [job(tmp_path, name, "import time; time.sleep(1.5)") for name in "bc"]
    run_jobs([first, *sleepers], parallel=3, say=said.append)
    assert time.monotonic() - started < 2.9
    assert all(item.finished for item in (first, *sleepers))
    assert set(first.seconds) == {"stage0", "stage1"}
    assert first.log.read_text().splitlines()[-1] == "1"
    assert sum("took" in line for line in said) == 4


def test_a_failing_job_shows_its_last_words_and_stops_the_others(tmp_path: Path) -> None:
    bad = job(tmp_path, "bad", "raise SystemExit('the disk is full')")
    endless = job(tmp_path, "endless", "import time; time.sleep(60)")
    with pytest.raises(JobError, match=r"bad: stage0 ended with exit code 1(.|\n)*the disk is full"):
        run_jobs([endless, bad], parallel=2, say=lambda line: None)
    assert endless.process is not None and endless.process.poll() is not None


def test_progress_bars_count_as_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"start\n 10%\r 20%\r 30%")
    assert jobs.last_line(log) == "30%"
    assert jobs.last_line(tmp_path / "absent") == ""


def test_a_folder_belongs_to_one_demo(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"seed": 0, "rotation_range": (0.0, 1.0)})
    claim_folder(tmp_path, {"seed": 0, "rotation_range": (0.0, 1.0)})
    with pytest.raises(DemoError, match="seed: 0 there, 1 now"):
        claim_folder(tmp_path, {"seed": 1, "rotation_range": (0.0, 1.0)})


def test_without_furniture_the_demo_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("equissl.datasets.meshes.sweethome3d_available", lambda: False)
    task = choose_meshes(DemoTask(), None, said.append)
    assert task.meshes == "procedural" and "procedural" in said[0] and len(task.classes) > 1
    monkeypatch.setattr("equissl.datasets.meshes.sweethome3d_available", lambda: True)
    assert choose_meshes(DemoTask(), None, said.append).meshes == "sweethome3d+procedural"
    assert choose_meshes(DemoTask(), "procedural", said.append).meshes == "procedural"
    assert len(said) == 1


@pytest.mark.parametrize("name", demo.METHODS)
def test_every_method_of_the_demo_has_a_config_that_takes_the_demos_flags(name: str, tmp_path: Path) -> None:
    task = replace(DemoTask(), size=32, steps=7, batch_size=4)
    command = method_job(name, tmp_path, task, seed=3).commands[0]
    flags = [word for word in command if word.startswith("--") and not word.startswith(("--config", "--out"))]
    config = load_config(f"demo_{name}", flags)
    assert (config.seed, config.trainer.max_steps, config.data.batch_size) == (3, 7, 4)
    assert config.data.store == str(tmp_path / "views.h5")
    assert config.method.init_args.get("image_size", 32) == 32


def test_evaluation_takes_the_demos_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from equissl import cli

    seen = {}
    monkeypatch.setattr(
        "equissl.evaluation.evaluate", lambda run, config, **_: seen.update(run=run, config=config) or {}
    )
    monkeypatch.setattr("equissl.reporting.format_table", lambda results: "")
    command = method_job("sie", tmp_path, replace(DemoTask(), rotation_steps=5, val_pairs=3), seed=7).commands[1]
    assert cli.main(command[command.index("evaluate") :]) == 0
    config = seen["config"]
    assert (config.rotation.steps, config.rotation.val_pairs, config.seed, config.standardize) == (5, 3, 7, True)


def test_methods_that_are_evaluated_are_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "sie").mkdir()
    (tmp_path / "sie" / "results.json").write_text("{}")
    assert method_job("sie", tmp_path, DemoTask(), 0).finished
    assert not method_job("vicreg", tmp_path, DemoTask(), 0).finished
