"""PLY files made by hand: looks and damage that random files do not have."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.formats import read_mesh
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.util.srgb import srgb_decode

SQUARE = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]


def ascii_ply(columns: str, rows: list[str], faces: list[str], extra: str = "", comments: str = "") -> bytes:
    """A file of vertices x, y, z and ``columns``, and faces with ``extra`` properties."""
    more = "".join(f"property {column}\n" for column in columns.split(", ") if column)
    head = f"ply\nformat ascii 1.0\n{comments}element vertex {len(rows)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + more
    head += f"element face {len(faces)}\nproperty list uchar int vertex_indices\n{extra}end_header\n"
    return (head + "\n".join([*rows, *faces, ""])).encode()


def read(folder: Path, data: bytes) -> Mesh:
    (folder / "t.ply").write_bytes(data)
    return read_mesh(FolderFiles(folder), "t.ply", "a thing")


def with_columns(values: list[str]) -> list[str]:
    return [f"{row} {value}" for row, value in zip(SQUARE, values, strict=True)]


def test_binary_triangle_and_quad(tmp_path: Path) -> None:
    head = ascii_ply("", SQUARE, ["x"] * 2).split(b"end_header\n")[0].replace(b"ascii", b"binary_little_endian")
    body = np.array([row.split() for row in SQUARE], "<f4").tobytes()
    body += b"\3" + np.array([0, 1, 2], "<i4").tobytes() + b"\4" + np.array([0, 1, 2, 3], "<i4").tobytes()
    mesh = read(tmp_path, head + b"end_header\n" + body)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    with pytest.raises(MeshError, match=r"a thing: t\.ply .*expected 2 rows of face, the file is cut"):
        read(tmp_path, head + b"end_header\n" + body[:-1])


def test_coordinates_without_a_texture_leave_plain_grey(tmp_path: Path) -> None:
    data = ascii_ply("float s, float t", with_columns(["0 0", "1 0", "1 1", "0 1"]), ["4 0 1 2 3"])
    mesh = read(tmp_path, data)
    assert mesh.materials[0].texture is None and mesh.corner_uv is None and mesh.corner_colours is None
    np.testing.assert_array_equal(mesh.materials[0].diffuse, np.float32(0.8))
    assert mesh.warnings == ("there are texture coordinates, but no texture is named",)


def test_a_texture_replaces_colours_and_a_missing_one_does_not(tmp_path: Path) -> None:
    columns = "float u, float v, uchar red, uchar green, uchar blue"
    rows = with_columns([f"{k / 4} 0 {50 * k} 0 255" for k in range(4)])
    data = ascii_ply(columns, rows, ["4 0 1 2 3"], comments="comment TextureFile a.png\n")
    bare = read(tmp_path, data)
    assert bare.warnings == ("texture 'a.png' is missing",) and bare.materials[1].texture is None
    np.testing.assert_allclose(bare.corner_colours[0, :, 0], srgb_decode(np.array([0, 50, 100]) / 255), atol=1e-6)
    picture = io.BytesIO()
    Image.new("RGB", (2, 2), (9, 8, 7)).save(picture, "PNG")
    (tmp_path / "A.PNG").write_bytes(picture.getvalue())
    textured = read(tmp_path, data)
    assert textured.corner_colours is None and textured.warnings == ()
    assert textured.materials[textured.face_material[0]].texture[0, 0].tolist() == [9, 8, 7]
    np.testing.assert_allclose(textured.corner_uv[0, :, 0], [0, 0.25, 0.5])


@pytest.mark.parametrize(
    ("kind", "values", "encoded", "warned"),
    [
        ("float", [0.0, 0.5, 1.0, 0.25], [0.0, 0.5, 1.0, 0.25], False),
        ("float", [0, 51, 255, 102], [0, 0.2, 1, 0.4], True),  # bytes in real numbers
        ("int", [0, 51, 255, 102], [0, 0.2, 1, 0.4], False),  # bytes in wider integers
        ("ushort", [0, 13107, 65535, 26214], [0, 0.2, 1, 0.4], False),
    ],
)
def test_ranges_of_colours(tmp_path: Path, kind: str, values: list, encoded: list, warned: bool) -> None:
    columns = f"{kind} red, {kind} green, {kind} blue"
    mesh = read(tmp_path, ascii_ply(columns, with_columns([f"{v} {v} {v}" for v in values]), ["4 0 1 2 3"]))
    found = mesh.corner_colours[[0, 0, 0, 1], [0, 1, 2, 2], 0]
    np.testing.assert_allclose(found, srgb_decode(np.array(encoded)), atol=1e-6)
    assert bool(mesh.warnings) == warned


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b"ply\n", b"plx\n"), "expected a PLY header"),
        ((b"end_header", b"end"), "expected a PLY header"),
        ((b"ascii", b"utf8"), "expected a format of ascii, .* got utf8"),
        ((b"float x", b"real x"), "expected an element or a property in the PLY header, got 'property real x'"),
        ((b"element face", b"element vertex"), "expected elements of different names"),
        ((b"float x", b"float w"), "expected an element vertex with x, y and z"),
        ((b"vertex 4", b"vertex -4"), "0 rows or more"),
        ((b"vertex 4", b"vertex 4000000000000"), "expected 4000000000000 rows of vertex, the file is cut"),
        ((b"4 0 1 2 3", b"4 0 1 2 4"), "face indices 0..4 of 4 vertices"),
        ((b"4 0 1 2 3", b"4 0 1 2 1.5"), "whole numbers"),
        ((b"4 0 1 2 3", b"-4 0 1 2 3"), "size of a list in row 0 of face, got -4"),
        ((b"4 0 1 2 3", b"5 0 1 2 3"), "expected 1 rows of face, the file is cut"),
        ((b"4 0 1 2 3", b"4 0 1 2 x"), "cannot be read as ply"),
        ((b"4 0 1 2 3", b"2 0 1"), "a thing: empty mesh"),
        ((b"1 1 0\n", b"1 1\n"), "row 2 behind the header has too few numbers"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: tuple[bytes, bytes], message: str) -> None:
    data = ascii_ply("", SQUARE, ["4 0 1 2 3"])
    assert data.count(change[0]) >= 1
    with pytest.raises(MeshError, match=message):
        read(tmp_path, data.replace(*change))


def test_a_cloud_of_points_is_no_mesh(tmp_path: Path) -> None:
    data = ascii_ply("", SQUARE, [])
    with pytest.raises(MeshError, match=r"empty mesh \(4 vertices, 0 faces\)"):
        read(tmp_path, data)


def test_numbers_of_old_c_libraries(tmp_path: Path) -> None:
    rows = with_columns(["1.#IND 0 1", "-1.#QNAN00 0 1", "0 0 1.#INF", "0 0 1"])
    mesh = read(tmp_path, ascii_ply("float nx, float ny, float nz", rows, ["4 0 1 2 3"]))
    np.testing.assert_array_equal(mesh.corner_normals, np.broadcast_to([0, 0, 1], (2, 3, 3)))  # the faces' own
