"""Random PLY files: what they state, what the reader reads, and what Blender's importer does.

``EQUISSL_PLY_FILES=1000`` makes the full count. Blender is asked where an interpreter with ``bpy`` is found.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from blender_answers import ask_blender
from ply_features import PlyCase, make_ply
from polygon_checks import check_polygons

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.formats import read_mesh
from equissl.datasets.meshes.mesh import Mesh
from equissl.util.srgb import srgb_decode

COUNT = int(os.environ.get("EQUISSL_PLY_FILES", "120"))
WANTED = ["format='ascii'", "format='binary_little_endian'", "format='binary_big_endian'", "strips in rows"]
WANTED += ["one strip with -1", "coordinates of corners", "several textures", "a list of vertices", "another element"]
WANTED += ["colours of vertices='ushort'", "colours of vertices='float'", "normals", "faces before vertices"]


def write(case: PlyCase, folder: Path) -> Path:
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "t.ply"


def check(case: PlyCase, mesh: Mesh) -> None:
    np.testing.assert_array_equal(mesh.vertices, case.positions)
    for number, chosen, at in check_polygons(mesh, case.polygons):
        check_looks(case, number, mesh, chosen, at)
        if case.normals is not None:
            np.testing.assert_allclose(mesh.corner_normals[chosen], case.normals[case.polygons[number]][at], atol=1e-6)
    assert (mesh.corner_normals is None) == (case.normals is None)


def check_looks(case: PlyCase, number: int, mesh: Mesh, chosen: slice, at: np.ndarray) -> None:
    materials = [mesh.materials[i] for i in mesh.face_material[chosen]]
    colours = np.ones((*at.shape, 3)) if mesh.corner_colours is None else mesh.corner_colours[chosen]
    if (texture := case.texture[number]) >= 0:
        assert all((m.texture == case.pixels[texture]).all() for m in materials) and (colours == 1).all()
        np.testing.assert_allclose(mesh.corner_uv[chosen], case.uv[number][at], atol=1e-6)
        return
    assert all(m.texture is None for m in materials)
    encoded = case.encoded[number]
    expected = np.full(colours.shape, 0.8) if encoded is None else srgb_decode(encoded)[at]
    np.testing.assert_allclose(np.stack([m.diffuse for m in materials])[:, None] * colours, expected, atol=1e-6)


def test_files_are_read_as_stated(tmp_path: Path) -> None:
    features: Counter[str] = Counter()
    for seed in range(COUNT):
        case = make_ply(seed)
        write(case, tmp_path / str(seed))
        features.update(case.features)
        try:
            mesh = read_mesh(FolderFiles(tmp_path / str(seed)), "t.ply", "thing")
            check(case, mesh)
        except Exception as error:
            raise AssertionError(f"case {seed} ({sorted(case.features)}): {error}") from error
        assert ("behind the last element" in " ".join(mesh.warnings)) == ("trailing bytes" in case.features)
        unused = not case.pixels and any(uv is not None for uv in case.uv)
        assert ("no texture is named" in " ".join(mesh.warnings)) == unused
    assert not [word for word in WANTED if features[word] < COUNT / 60], features


#: Liberties that Blender 5.0.1 does not know.
BLENDER_LOSES = {
    "strips before faces",  # in that order, which is all that differs
    "strips in rows",
    "another element",
    "a list of vertices",
    "a blank line",
    "diffuse_red",
}


def test_blender_reads_the_same(tmp_path: Path) -> None:
    cases = [make_ply(seed) for seed in range(COUNT)]
    answers = ask_blender([write(case, tmp_path / str(seed)) for seed, case in enumerate(cases)], tmp_path)
    agreed: Counter[bool] = Counter()
    for seed, (case, polygons) in enumerate(zip(cases, answers, strict=True)):
        reason = differs(case, polygons)
        agreed[reason == ""] += 1
        assert not reason or case.features & BLENDER_LOSES, f"case {seed} ({sorted(case.features)}): {reason}"
    assert agreed[True] > COUNT / 6, agreed


def differs(case: PlyCase, polygons: Any) -> str:
    """Differences between Blender's reading and the file; it never reads colours of faces or textures."""
    if isinstance(polygons, str) or len(polygons) != len(case.polygons):
        return polygons if isinstance(polygons, str) else f"{len(polygons)} polygons for {len(case.polygons)}"
    vertex_colours = any(word.startswith("colours of vertices") for word in case.features)
    for number, (found, run) in enumerate(zip(polygons, case.polygons, strict=True)):
        expected = {"positions": case.positions[run], "normals": None if case.normals is None else case.normals[run]}
        if case.features & {"coordinates=('s', 't')"}:
            expected["uv"] = case.uv[number]
        if vertex_colours:
            expected["colours"] = srgb_decode(case.encoded[number])
        for key, value in expected.items():
            if np.shape(value) != np.shape(found[key]):
                return f"{key} of polygon {number}: shape {np.shape(found[key])} for {np.shape(value)}"
            # Blender keeps normals as two angles of 16 bits
            if value is not None and not np.allclose(
                found[key], value, atol=2e-2 if key == "normals" else 1e-5, rtol=1e-5
            ):
                return f"{key} of polygon {number}: {found[key]} for {value.tolist()}"
    return ""
