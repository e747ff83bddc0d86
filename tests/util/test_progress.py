"""Progress of a stage: on a terminal a bar, elsewhere lines with the time left, and nothing unless asked for."""

from __future__ import annotations

import io
import sys

import pytest

from equissl.util.progress import showing_progress, stage, staged


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(staged(range(3), "work", "items")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with showing_progress(), stage(4, "features", "batches") as bar:
        bar.update(2)
        bar._bar.refresh()  # type: ignore[union-attr]
    assert "features:" in screen.getvalue() and "2/4" in screen.getvalue() and "<" in screen.getvalue()


def test_lines_have_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("equissl.util.progress.time.monotonic", lambda: now[0])
    with showing_progress(), stage(100, "features", "batches") as bar:
        for seconds in (1.0, 5.0, 20.0):  # none before 10 s have passed
            now[0] = seconds
            bar.update(10)
    assert capsys.readouterr().err == "features: 30/100 batches, 1.50 batches/s, 00:00:46 left\n"
    with showing_progress():
        assert len(list(staged(range(5), "short", "items"))) == 5
    assert capsys.readouterr().err == ""
