"""Every command on a page of the docs has words that the program knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_commands import commands_of, words_of, wrong_words

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_words_are_known(page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    commands = [command for command in commands_of(page.read_text()) if "mine:" not in command]  # of a reader's own
    wrong = {command: text for command in commands if (text := wrong_words(command, monkeypatch, capsys))}
    assert not wrong, "\n".join(f"{command}\n  {text}" for command, text in wrong.items())


def test_commands_are_found_where_they_stand() -> None:
    text = """Some `equissl bench loader
--size 64` here, ``code`` and words on equissl.

    equissl render --size 64 \\
        --out views.h5      # a comment
    python -m equissl.cli
- equissl is not one here

```bash
equissl unpack views.h5 FOLDER
```
"""
    assert commands_of(text) == [
        "equissl bench loader --size 64",
        "equissl render --size 64 --out views.h5 # a comment",
        "equissl unpack views.h5 FOLDER",
    ]
    assert words_of("equissl pretrain --seed S … FLAGS # note") == ["pretrain", "--seed", "0"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("equissl bench detection_metrics --threads 1", "unknown flag --threads"),
        ("equissl evaluate RUN --hue.stepz 3", "did you mean '--hue.steps'"),
        ("equissl evaluate RUN --pairs 50", ""),
        ("equissl pretrain --config demo_sie --method.simm 3", "unknown flag --method.init_args.simm"),
        ("equissl pretrain --config demo_sei --seed S", "did you mean 'demo_sie'"),
        ("equissl render --size many", "expected int, got 'many'"),
        ("equissl reprot RUN", "did you mean 'report'"),
        ("equissl flow STORE", ""),
    ],
)
def test_wrong_words_are_found(
    command: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = wrong_words(command, monkeypatch, capsys)
    assert problem in found and bool(problem) == bool(found), found
