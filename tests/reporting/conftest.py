"""Folders of results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WriteRun = Callable[[Path, dict[str, Any]], Path]


@pytest.fixture
def write_run() -> WriteRun:
    """Writes results.json into a new folder."""

    def write(folder: Path, results: dict[str, Any]) -> Path:
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"run": folder.name, **results}))
        return folder

    return write
