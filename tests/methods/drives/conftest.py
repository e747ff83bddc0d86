"""Tests in this folder import scene_cases.py by name; one with ``scene_case`` runs for every tiny scene method."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # also where pytest imports files without their folders

from scene_cases import CASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scene_case" in metafunc.fixturenames:
        metafunc.parametrize("scene_case", list(CASES))
