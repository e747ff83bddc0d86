"""Large coordinates: a mesh far from the origin keeps its shape in every format that can state it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from equissl.datasets.meshes import FolderSource

#: Metres of a projected map: 4.5e6 north, 5e5 east; float32 steps there are 0.5 m.
FAR = np.array([5e5, 4.5e6, 1e3])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


def written(shape: trimesh.Trimesh, kind: str) -> bytes:
    faces, rows = shape.faces, [" ".join(f"{value:.9f}" for value in vertex) for vertex in shape.vertices]
    if kind == "obj":
        return "\n".join([*(f"v {row}" for row in rows), *("f {} {} {}".format(*f) for f in faces + 1)]).encode()
    if kind == "stl":
        loops = ("outer loop " + " ".join(f"vertex {rows[i]}" for i in face) + " endloop" for face in faces)
        return ("solid far\n" + "\n".join(f"facet normal 0 0 0 {x} endfacet" for x in loops) + "\nendsolid").encode()
    body = "\n".join([*rows, *("3 {} {} {}".format(*face) for face in faces), ""])
    if kind == "off":
        return f"OFF\n{len(rows)} {len(faces)} 0\n{body}".encode()
    properties = "".join(f"property double {axis}\n" for axis in "xyz")
    counts = (
        f"element vertex {len(rows)}\n{properties}element face {len(faces)}\nproperty list uchar int vertex_index\n"
    )
    return f"ply\nformat ascii 1.0\n{counts}end_header\n{body}".encode()


@pytest.mark.parametrize("kind", ["obj", "off", "ply", "stl", "glb"])
def test_a_shape_far_away_is_the_shape(tmp_path: Path, kind: str) -> None:
    near, far = trimesh.creation.cone(0.5, 2.0, sections=7), trimesh.creation.cone(0.5, 2.0, sections=7)
    far.vertices = far.vertices + FAR
    (tmp_path / "m" / "a").mkdir(parents=True)
    for name, shape in (("far", far), ("near", near)):
        if kind == "glb":  # positions are float32; the node places them
            scene, move = trimesh.Scene(), np.eye(4)
            move[:3, 3] = FAR * (name == "far")
            scene.add_geometry(near, transform=move)
            data = scene.export(file_type="glb")
        else:
            data = written(shape, kind)
        (tmp_path / "m" / "a" / f"{name}.{kind}").write_bytes(data)
    source = FolderSource(tmp_path / "m", up="z")
    shown, expected = (source.load(i).vertices[source.load(i).faces] for i in (0, 1))
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, expected, atol=1e-6)
