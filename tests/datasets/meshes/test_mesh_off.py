"""OFF files made by hand: the concave polygon, damage, and what no random file has."""

from __future__ import annotations

import numpy as np
import pytest

from equissl.datasets.meshes.mesh import MeshError
from equissl.datasets.meshes.off import decode_off

SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def test_a_concave_polygon_keeps_its_area() -> None:
    # an arrowhead: a fan from its first corner has the area 1/2, with a triangle outside of it
    mesh = decode_off(b"OFF\n4 1 0\n0 0 0\n1 0.5 0\n0 1 0\n0.25 0.5 0\n4 0 1 2 3\n", "arrow")
    corners = mesh.vertices[mesh.faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2
    assert areas.sum() == pytest.approx(0.375) and (areas > 0).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "expected OFF"),
        ("PLY\n4 1 0\n", "expected OFF"),
        ("OFF BINARY\n\0\0\0\4", "binary OFF files are not supported"),
        ("nOFF\n4\n4 1 0\n", "3 dimensions, got b'4'"),
        ("OFF\n", "numbers of vertices and faces"),
        ("OFF\n-4 1 0\n", "numbers of vertices and faces"),
        (f"OFF\n4 2 0\n{SQUARE}4 0 1 2 3\n", "expected 4 vertices and 2 faces, the file is cut"),
        ("OFF\n999999999999 999999999999 0\n0 0 0\n", "the file is cut"),
        (f"OFF\n4 1 0\n{SQUARE}5 0 1 2 3\n", "face 0 has 4 numbers for 5 corners"),
        (f"OFF\n4 1 0\n{SQUARE}-1 0 1 2 3\n", "face 0 has 4 numbers for -1 corners"),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 4\n", r"face indices 0\.\.4 of 4 vertices"),
        (f"OFF\n4 1 0\n{SQUARE}3 0 1 1.5\n", "whole numbers"),
        (f"NOFF\n4 1 0\n{SQUARE}4 0 1 2 3\n", "vertices as NOFF has them, got 3 numbers"),
        (f"OFF\n4 1 0\n{SQUARE.replace('1 1 0', '1 x 0')}4 0 1 2 3\n", "unmatched data"),
    ],
)
def test_damage_is_named(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_off(data.encode(), "a thing")


@pytest.mark.parametrize("faces", ["", "2 0 1\n", "1 0\n"])
def test_no_faces(faces: str) -> None:
    with pytest.raises(MeshError, match=r"a thing: empty mesh \(4 vertices, 0 faces\)"):
        decode_off(f"OFF\n4 {faces.count(chr(10))} 0\n{SQUARE}{faces}".encode(), "a thing")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3 7\n", "number in a colour map"),
        (f"OFF\n4 1 0\n{SQUARE.replace(chr(10), ' 9 9 9' + chr(10))}4 0 1 2 3\n", "3 further numbers of each vertex"),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3\n4 3 2 1 0\n", "1 lines behind the last face"),
    ],
)
def test_what_is_not_read_is_said(data: str, message: str) -> None:
    mesh = decode_off(data.encode(), "a thing")
    assert len(mesh.faces) == 2 and message in " ".join(mesh.warnings) and mesh.corner_colours is None


def test_dimension_and_utf16() -> None:
    text = f"nOFF\n3\n4 1 0\n{SQUARE}4 0 1 2 3\n"
    for data in (text.encode(), text.replace("nOFF\n3\n", "nOFF 3 ").encode(), text.encode("utf-16")):
        np.testing.assert_array_equal(decode_off(data, "a thing").faces, [[0, 1, 2], [0, 2, 3]])
