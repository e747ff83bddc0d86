from __future__ import annotations

import sys
from pathlib import Path

import pytest

from equissl.util.commands import CommandError, Commands, last_line, run_commands


def commands(tmp_path: Path, name: str, *scripts: str) -> Commands:
    stages = {f"stage{i}": [sys.executable, "-c", script] for i, script in enumerate(scripts)}
    return Commands(name, stages, tmp_path / f"{name}.log")


def test_commands_of_one_run_in_order_and_others_side_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "equissl")
    first = commands(
        tmp_path, "a", f"open({str(tmp_path / 'x')!r}, 'w').write('1')", f"print(open({str(tmp_path / 'x')!r}).read())"
    )
    # each of the two ends only once the other has begun
    meet = "import pathlib, time; pathlib.Path({!r}).touch()\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    mine, yours = str(tmp_path / "b"), str(tmp_path / "c")
    pair = [commands(tmp_path, "b", meet.format(mine, yours)), commands(tmp_path, "c", meet.format(yours, mine))]
    run_commands([first, *pair], parallel=3, progress=False)
    assert all(item.stage is None for item in (first, *pair))
    assert set(first.seconds) == {"stage0", "stage1"}
    assert first.log.read_text().splitlines()[-1] == "1"
    assert sum("took" in line for line in caplog.messages) == 4


def test_a_failing_command_shows_its_last_words_and_stops_the_others(tmp_path: Path) -> None:
    bad = commands(tmp_path, "bad", "raise SystemExit('the disk is full')")
    endless = commands(tmp_path, "endless", "import time; time.sleep(60)")
    with pytest.raises(CommandError, match=r"bad: stage0 ended with exit code 1(.|\n)*the disk is full"):
        run_commands([endless, bad], parallel=2, progress=False)
    assert endless.process is not None and endless.process.poll() is not None


def test_progress_bars_count_as_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"start\n 10%\r 20%\r 30%")
    assert last_line(log) == "30%"
    assert last_line(tmp_path / "absent") == ""


def test_progress_shows_what_is_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_commands([commands(tmp_path, "a", "print('epoch 3', flush=True); import time; time.sleep(1)")], parallel=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("running: 0/1 commands, a: stage0") and lines[-1].startswith("running: 1/1 commands")
