"""Ends of training processes: work that ended well is not undone by the interpreter's teardown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from equissl.runs import TrainerConfig
from equissl.training.launch import ProcessError, launch_processes

BOTH = TrainerConfig(devices=2, threads=1)


class Aborts:
    """Abortion of the process when the interpreter lets go of it, as threads of a process group may do."""

    def __del__(self, abort=os.abort) -> None:
        abort()


def write(folder: Path) -> None:
    """Work of one process, after which its interpreter cannot be taken down."""
    sys.kept = Aborts()  # type: ignore[attr-defined]
    (folder / os.environ["RANK"]).write_text("done")


def fail(folder: Path) -> None:
    write(folder)
    raise ValueError("no such luck")


@pytest.mark.slow
def test_teardown_counts_for_nothing_after_the_work(tmp_path: Path) -> None:
    launch_processes(write, (tmp_path,), BOTH)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.slow
def test_an_error_is_still_one(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="failed: ValueError: no such luck"):
        launch_processes(fail, (tmp_path,), BOTH)


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["pretend"], 2)])
def test_the_program_as_one_of_several(words: list[str], code: int) -> None:
    """As torchrun starts it, which takes any other exit code for a failure of all."""
    script = (
        "import os, sys; from equissl.cli import main\n"
        "class Aborts:\n  def __del__(self): os.abort()\n"
        "kept = Aborts(); sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={**os.environ, "LOCAL_RANK": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == code and (ended.stdout or ended.stderr).startswith("equissl")
