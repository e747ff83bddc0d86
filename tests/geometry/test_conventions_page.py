"""The examples of the documentation page and of the metrics' docstrings run as written."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest


def test_conventions_page() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "conventions.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted >= 10 and result.failed == 0


@pytest.mark.parametrize("module", ["r2", "rotation", "classification", "detection.kitti"])
def test_metric_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"equissl.metrics.{module}"))
    assert result.attempted >= 1 and result.failed == 0
