"""The check against the authors' code: its data round trip, and commands whose flags exist and files that are there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_commands import wrong_words

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCRIPT = DOCS / "authors_check.sh"


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder after the script's first part, on few objects; ``equissl`` is this checkout's."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "bin").mkdir()
    (folder / "bin" / "equissl").write_text(f'#!/bin/sh\nexec {sys.executable} -m equissl.cli "$@"\n')
    (folder / "bin" / "equissl").chmod(0o755)
    printed = run(folder, "data")
    assert "views.h5 came back whole" in printed
    return folder


def run(folder: Path, part: str) -> str:
    """Run a part of the script, the programs of FOLDER/bin before others, and return what it prints."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {"OUT": str(folder / "out"), "OBJECTS": "12", "SIZE": "16", "EPOCHS": "2", "SIE": "/SIE", "PATH": path}
    done = subprocess.run(
        ["sh", str(SCRIPT), part], capture_output=True, text=True, cwd=folder, env={**os.environ, **given}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_authors_layout_of_fifty_views_comes_back_whole(checked: Path) -> None:
    out = checked / "out"
    assert (out / "views.h5").read_bytes() == (out / "again.h5").read_bytes()
    listed = [np.load(out / "views" / f"{split}_images.npy") for split in ("train", "val")]
    assert sum(map(len, listed)) == 12
    for place in np.concatenate(listed):
        assert re.fullmatch(r"/\d{8}/[^/]+/", str(place))
        folder = out / "views" / str(place).strip("/")
        assert {f"image_{i}.jpg" for i in range(50)} | {f"latent_{i}.npy" for i in range(50)} == {
            file.name for file in folder.iterdir()
        }
        latent = np.load(folder / "latent_49.npy")
        assert latent.dtype == np.float64 and latent.shape == (7,)


def test_their_commands_name_files_that_are_there(checked: Path) -> None:
    out = checked / "out"
    lines = [shlex.split(line) for line in run(checked, "theirs").splitlines() if line and not line.startswith("#")]
    programs = [words[1] for words in lines if words[0] == "python"]
    assert [Path(name).name for name in programs] == [
        "main.py", "eval_classification.py", "eval_angle_prediction.py",
        "main.py", "eval_classification.py", "eval_angle_prediction.py", "main_transformed_views.py",
    ]  # fmt: skip
    assert programs[0] == "/SIE/main.py" and all(str(out / "views") in words for words in lines if words[0] == "python")
    assert lines[1][:3] == ["cp", f"{out}/views/*_images.npy", f"{out}/views/*_labels.npy"]
    copied = {file.name for pattern in lines[1][1:3] for file in out.glob(f"views/{Path(pattern).name}")}
    wanted = {Path(word).name for words in lines for word in words if word.startswith("data/") and "*" not in word}
    assert wanted <= copied == {f"{split}_{what}.npy" for split in ("train", "val") for what in ("images", "labels")}


@pytest.mark.parametrize("part", ["ours", "compare"])
def test_our_commands_have_words_that_are_known(
    part: str, checked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = checked / "bin" / "equissl"
    whole = program.read_text()
    program.write_text(f"#!{sys.executable}\nimport shlex, sys\nprint(shlex.join(['equissl', *sys.argv[1:]]))\n")
    try:
        commands = run(checked, part).splitlines()
    finally:
        program.write_text(whole)
    assert len(commands) == {"ours": 4, "compare": 12}[part]
    assert {command: wrong_words(command, monkeypatch, capsys) for command in commands} == dict.fromkeys(commands, "")


def test_without_a_part_it_says_what_there_is(checked: Path) -> None:
    printed = run(checked, "")
    assert all(f"authors_check.sh {part}" in printed for part in ("data", "theirs", "ours", "compare"))
