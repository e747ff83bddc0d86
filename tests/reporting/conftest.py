"""The kinds whose tables and pages are tested, and folders of results of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from equissl.reporting import report

KINDS = ("views", "drives", "sweeps", "videos")
WriteRun = Callable[[Path, dict[str, Any]], Path]


def _kind(name: str) -> Any:
    table, page = (import_module(f"equissl.reporting.{name}.{part}") for part in ("table", "page"))
    return SimpleNamespace(name=name, columns=table.columns, baselines=table.baselines, page=page.page)


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of these tests ask for nothing but the table and the page of a kind."""
    monkeypatch.setattr(report, "KINDS", {name: _kind(name) for name in KINDS})


@pytest.fixture
def write_run() -> WriteRun:
    """Writes results.json into a new folder."""

    def write(folder: Path, results: dict[str, Any]) -> Path:
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"run": folder.name, **results}))
        return folder

    return write
