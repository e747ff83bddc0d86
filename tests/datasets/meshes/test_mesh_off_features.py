"""Random OFF files: what they state, what the reader reads, and what trimesh and Open3D do.

``EQUISSL_OFF_FILES=1000`` makes the full count.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

sys.path.insert(0, str(Path(__file__).parent))
from off_features import OffCase, make_off
from polygon_checks import check_polygons

from equissl.datasets.meshes.off import decode_off
from equissl.util.srgb import srgb_decode

COUNT = int(os.environ.get("EQUISSL_OFF_FILES", "120"))
WANTED = ["colours of vertices", "colours of faces", "some without colour", "real colours", "normals", "a divisor"]
WANTED += [
    "comments",
    "leading blanks",
    "blank lines",
    "counts behind the keyword",
    "no edges",
    "no keyword",
    "one line",
]
WANTED += ["one line", "coordinates", "byte order mark", "newline='\\r\\n'", "newline='\\r'"]


def check(case: OffCase) -> None:
    mesh = decode_off(case.data, "thing")
    np.testing.assert_allclose(mesh.vertices, case.positions, rtol=1e-12)
    assert (mesh.corner_normals is None) == (case.normals is None)
    assert any("names no texture" in text for text in mesh.warnings) == ("coordinates" in case.features)
    for number, chosen, at in check_polygons(mesh, case.polygons):
        if case.normals is not None:
            np.testing.assert_allclose(mesh.corner_normals[chosen], case.normals[case.polygons[number]][at], atol=1e-5)
        encoded = case.encoded[number]
        expected = np.full((*at.shape, 3), 0.8) if encoded is None else srgb_decode(encoded)[at]
        colours = 1 if mesh.corner_colours is None else mesh.corner_colours[chosen]
        np.testing.assert_allclose(mesh.materials[0].diffuse * colours * np.ones((*at.shape, 1)), expected, atol=1e-6)


def test_files_are_read_as_stated() -> None:
    features: Counter[str] = Counter()
    for seed in range(COUNT):
        case = make_off(seed)
        features.update(case.features)
        try:
            check(case)
        except Exception as error:
            raise AssertionError(f"case {seed} ({sorted(case.features)}): {error}") from error
    assert not [word for word in WANTED if features[word] < COUNT / 100], features


#: Liberties that trimesh 5.2 and Open3D 0.20 do not know; Open3D takes colours for bytes.
TRIMESH_LOSES = {"no keyword", "one line", "a divisor", "polygons of several sizes", "newline='\\r'"}
OPEN3D_LOSES = {"no keyword", "one line", "a divisor", "no edges", "counts behind the keyword", "byte order mark"}
OPEN3D_LOSES |= {"letters=NC", "comments", "coordinates", "real colours", "no opacity", "newline='\\r'"}


def in_order(faces: np.ndarray) -> np.ndarray:
    """Triangles sorted, each from its lowest vertex on."""
    turned = np.stack([np.roll(face, -face.argmin()) for face in np.asarray(faces)])
    return turned[np.lexsort(turned.T)]


def check_readings(differs: Callable[[OffCase], str], loses: set[str]) -> None:
    agreed: Counter[bool] = Counter()
    for seed in range(COUNT):
        case = make_off(seed)
        reason = differs(case)
        agreed[reason == ""] += 1
        assert not reason or case.features & loses, f"case {seed} ({sorted(case.features)}): {reason}"
    assert agreed[True] > COUNT / 12, agreed


def test_trimesh_reads_the_same_faces() -> None:
    """Positions and triangles; it cuts all polygons as fans, also concave ones."""

    def differs(case: OffCase) -> str:
        try:
            with warnings.catch_warnings(action="ignore"):
                mesh = trimesh.load(io.BytesIO(case.data), file_type="off", process=False)
        except Exception as error:
            return repr(error)
        fans = np.array([run[[0, k, k + 1]] for run in case.polygons for k in range(1, len(run) - 1)])
        same = np.shape(mesh.vertices) == case.positions.shape and np.allclose(mesh.vertices, case.positions)
        return "" if same and np.array_equal(in_order(mesh.faces), in_order(fans)) else "other faces"

    check_readings(differs, TRIMESH_LOSES)


def test_open3d_reads_the_same_vertices(tmp_path: Path) -> None:
    """Positions, normals and colours of vertices."""
    open3d = pytest.importorskip("open3d")

    def differs(case: OffCase) -> str:
        (tmp_path / "t.off").write_bytes(case.data)
        with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
            mesh = open3d.io.read_triangle_mesh(str(tmp_path / "t.off"))
        expected = {"vertices": case.positions}
        if case.normals is not None:
            expected["vertex_normals"] = case.normals
        if "colours of vertices" in case.features:
            expected["vertex_colors"] = np.concatenate(case.encoded)
        for name, value in expected.items():
            found = np.asarray(getattr(mesh, name))
            if found.shape != value.shape or not np.allclose(found, value, atol=1e-5):
                return name
        return ""

    check_readings(differs, OPEN3D_LOSES)
