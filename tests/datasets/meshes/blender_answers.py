"""Ask Blender, in its own process, what it reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from equissl.renderers.blender import find_blender_python


def ask_blender(files: list[Path], folder: Path) -> list[Any]:
    """Polygons that Blender reads of each file, or its error; skips where there is no interpreter with ``bpy``."""
    python = find_blender_python()
    if python is None:
        pytest.skip("needs an interpreter with bpy")
    (folder / "files.json").write_text(json.dumps([str(file) for file in files]))
    script = Path(__file__).with_name("blender_polygons.py")
    command = [python, script, folder / "files.json", folder / "answers.json"]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "answers.json").read_text())
