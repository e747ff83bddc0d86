"""STL: binary and text in the forms that programs write, with hand-made answers."""

from __future__ import annotations

import numpy as np
import pytest

from equissl.datasets.meshes import MeshError
from equissl.datasets.meshes.stl import decode_stl
from equissl.util.srgb import srgb_decode

CORNERS = np.array([[[0, 0, 0], [1, 0, 0], [0, 2, 0]], [[0, 0, 3], [1, 0, 3], [0, 2.5, 3]]], float)


def binary(header: bytes = b"", attributes: tuple[int, int] = (0, 0)) -> bytes:
    facets = np.zeros(2, [("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])
    facets["vertices"], facets["attribute"] = CORNERS, attributes
    return header.ljust(80, b" ") + (2).to_bytes(4, "little") + facets.tobytes()


def text(separator: str = "\n", name: str = " thing") -> str:
    lines = [f"solid{name}"]
    for facet in CORNERS:
        lines += ["facet normal 0 0 1", "outer loop", *("vertex {:e} {} {}".format(*row) for row in facet)]
        lines += ["endloop", "endfacet"]
    return separator.join([*lines, f"endsolid{name}", ""])


@pytest.mark.parametrize(
    ("data", "warnings"),
    [
        (binary(), 0),
        (binary(b"solid made by a program"), 0),
        (binary() + b"\0" * 7, 1),
        (binary(b"solid made by a program") + b"trailing words", 1),
        (text().encode(), 0),
        (text("\r\n").encode(), 0),
        (text("\r").encode(), 0),
        (text("\n\t ").encode(), 0),
        (text(" ").encode(), 0),
        (text().upper().encode(), 0),
        (text(name="").encode(), 0),
        (text(name=" vertex 1 2 3 endloop of facet 7").encode(), 0),
        (text(name=" M\xf6bel").encode("latin-1"), 0),
        (text().encode("utf-8-sig"), 0),
        (text().encode("utf-16"), 0),
        (text().replace("endloop", "end loop").replace("endfacet", "end facet").encode(), 0),
        (text().replace("endloop\n", "").encode(), 0),
        (text().replace("endfacet\nfacet", "endfacet\nendsolid thing\nsolid other\nfacet").encode(), 0),
        (text().replace("endsolid thing", "").encode(), 1),
        (b"\n  " + text().encode(), 0),
    ],
)
def test_each_form_is_read(data: bytes, warnings: int) -> None:
    mesh = decode_stl(data, "a")
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], CORNERS)
    assert len(mesh.warnings) == warnings, mesh.warnings
    assert mesh.corner_colours is None and mesh.materials[0].texture is None


def test_loops_of_more_corners_are_polygons() -> None:
    corners = "vertex 0 0 0\nvertex 2 0 0\nvertex 1 0.5 0\nvertex 0 2 0\n"  # concave
    mesh = decode_stl(f"solid\nfacet normal 0 0 1\nouter loop\n{corners}endloop\nendfacet\nendsolid".encode(), "a")
    points = mesh.vertices[mesh.faces]
    area = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])[:, 2] / 2
    assert area.sum() == pytest.approx((2 * 0.5 + 1 * 2) / 2) == np.abs(area).sum()  # the shoelace formula


RED_LOW, RED_HIGH = 31 | 4 << 5, 31 << 10 | 4 << 5  # red with a little green


@pytest.mark.parametrize(
    ("header", "attributes", "expected"),
    [
        (b"", (RED_HIGH | 0x8000, 0x8000), [[1, 4 / 31, 0], [0, 0, 0]]),  # VisCAM and SolidView
        (b"COLOR=\x00\xff\x00\xff", (RED_LOW, 0x8000), [[1, 4 / 31, 0], [0, 1, 0]]),  # Magics
        (b"by Magics COLOR=\x00\xff\x33\xff,MATERIAL=", (0, 0), [[0, 1, 0.2], [0, 1, 0.2]]),
    ],
)
def test_colours_of_binary_files(header: bytes, attributes: tuple[int, int], expected: list[list[float]]) -> None:
    mesh = decode_stl(binary(header, attributes), "a")
    assert mesh.corner_colours is not None and mesh.materials[0].diffuse.tolist() == [1, 1, 1]
    np.testing.assert_allclose(
        mesh.corner_colours, np.repeat(srgb_decode(np.array(expected))[:, None], 3, 1), atol=1e-6
    )


def test_a_face_without_its_own_colour_is_grey() -> None:
    mesh = decode_stl(binary(attributes=(RED_HIGH | 0x8000, 0)), "a")
    assert mesh.corner_colours is not None
    np.testing.assert_allclose(mesh.corner_colours[1], 0.8)  # linear, as a material's default


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no faces"),
        (b"solid x\nendsolid x\n", "no faces"),
        (binary()[:-1], "expected 184 bytes for 2 faces, got 183"),
        (text().encode()[:-60], "no end"),
        (text().replace("vertex 0", "vrtx 0", 1).encode(), "fewer than three"),
        (text().replace("2.5", "2,5").encode(), "unmatched"),
    ],
)
def test_what_is_cut_or_no_stl_is_refused(data: bytes, words: str) -> None:
    with pytest.raises((MeshError, ValueError), match=words):
        decode_stl(data, "a")
