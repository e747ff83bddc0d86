"""Tests in this folder import drive_cases.py by name; one with ``drive_case`` runs for every tiny scene method."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # also where pytest imports files without their folders

from drive_cases import CASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "drive_case" in metafunc.fixturenames:
        metafunc.parametrize("drive_case", list(CASES))
