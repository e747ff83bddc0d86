"""Random STL files: what they state, what the reader reads, and what Blender's importer and trimesh do.

``EQUISSL_STL_FILES=1000`` makes the full count. Blender is asked where an interpreter with ``bpy`` is found.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).parent))
from blender_answers import ask_blender
from stl_features import StlCase, make_stl

from equissl.datasets.meshes.stl import decode_stl
from equissl.util.srgb import srgb_decode

COUNT = int(os.environ.get("EQUISSL_STL_FILES", "60"))

#: Liberties that Blender 5.0.1 and trimesh 5.2 do not know.
BLENDER_LOSES = {
    "trailing bytes",  # it takes the file for text
    "encoding=utf-16",
    "newline='\\r'",
    "one line",
    "upper case",
    "name=vertex 1 2 3",
    "name=solid vertex",
}
TRIMESH_LOSES = {"trailing bytes", "newline='\\r'", "one line", "no endsolid", "name=vertex 1 2 3"}


def same_corners(case: StlCase, corners: Any) -> bool:
    """True for the faces stated, in their order."""
    return np.shape(corners) == case.corners.shape and np.allclose(corners, case.corners, rtol=2e-6, atol=1e-6)


def test_stl_files_are_read_as_stated() -> None:
    for seed in range(COUNT):
        case = make_stl(seed)
        mesh = decode_stl(case.data, str(seed))
        assert same_corners(case, mesh.vertices[mesh.faces]), f"case {seed} ({sorted(case.features)})"
        if case.colours is None:
            assert mesh.corner_colours is None
        else:
            expected = np.repeat(srgb_decode(case.colours / 31)[:, None], 3, axis=1)
            np.testing.assert_allclose(mesh.corner_colours, expected, atol=1e-6)
        expected_warnings = len(case.features & {"trailing bytes", "no endsolid"})
        assert len(mesh.warnings) == expected_warnings, (seed, mesh.warnings)


def check(readings: list[Any], loses: set[str]) -> None:
    agreed: Counter[bool] = Counter()
    for seed, corners in enumerate(readings):
        case = make_stl(seed)
        agreed[same_corners(case, corners)] += 1
        assert same_corners(case, corners) or case.features & loses, f"case {seed} ({sorted(case.features)})"
    assert agreed[True] > COUNT / 4, agreed


def test_trimesh_reads_the_same_stl_files() -> None:
    def read(data: bytes) -> Any:
        try:
            with warnings.catch_warnings(action="ignore"):
                scene = trimesh.load(io.BytesIO(data), file_type="stl", process=False)
                parts = scene.dump() if isinstance(scene, trimesh.Scene) else [scene]
                return np.concatenate([part.triangles for part in parts])
        except Exception:
            return None

    check([read(make_stl(seed).data) for seed in range(COUNT)], TRIMESH_LOSES)


def test_blender_reads_the_same_stl_files(tmp_path: Path) -> None:
    for seed in range(COUNT):
        (tmp_path / f"{seed}.stl").write_bytes(make_stl(seed).data)
    answers = ask_blender([tmp_path / f"{seed}.stl" for seed in range(COUNT)], tmp_path)
    check([None if isinstance(a, str) else [face["positions"] for face in a] for a in answers], BLENDER_LOSES)
