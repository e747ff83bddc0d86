"""OBJ and MTL: hand-made files against hand-made answers and trimesh, then damaged bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.mtl import split_texture_options
from equissl.datasets.meshes.obj import read_obj
from equissl.datasets.meshes.polygons import cut_ears, triangulate
from equissl.datasets.meshes.textures import decode_texture

CUBE = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
f 4 3 2 1
f 5 6 7 8
f 1 2 6 5
f 2 3 7 6
f 3 4 8 7
f 4 1 5 8
"""


def read(folder: Path, obj: str | bytes, **others: bytes | str) -> Mesh:
    (folder / "a.obj").write_bytes(obj if isinstance(obj, bytes) else obj.encode())
    for name, data in others.items():
        (folder / name.replace("_", ".")).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_obj(FolderFiles(folder), "a.obj", "thing/a")


def png(width: int, height: int, colour: tuple[int, int, int] = (200, 10, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "PNG")
    return stream.getvalue()


def test_cube_agrees_with_trimesh(tmp_path: Path) -> None:
    mesh = read(tmp_path, CUBE)
    oracle = trimesh.load(io.BytesIO(CUBE.encode()), file_type="obj", process=False)
    assert mesh.faces.shape == (12, 3) == oracle.faces.shape
    ours = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert ours.is_watertight
    assert ours.volume == pytest.approx(1.0) == oracle.volume
    assert mesh.corner_normals is None and mesh.corner_uv is None and mesh.warnings == ()


def test_every_face_layout_counts_from_either_end(tmp_path: Path) -> None:
    head = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\nmtllib a.mtl\nusemtl m\n"
    for face, uv, normal in [
        ("1 2 3", False, False),
        ("1/1 2/2 3/3", True, False),
        ("1//1 2//1 3//1", False, True),
        ("1/1/1 2/2/1 3/3/1", True, True),
        ("-3/-3/-1 -2/-2/-1 -1/-1/-1", True, True),
        ("1/1/1 2/2 3/3/1", True, True),
        ("1/1/1\t2/2/1  \\\n 3/3/1", True, True),
    ]:
        mesh = read(tmp_path, f"{head}f {face}\n", a_mtl="newmtl m\nmap_Kd a.png\n", a_png=png(4, 4))
        assert mesh.faces.tolist() == [[0, 1, 2]], face
        assert mesh.corner_uv is not None
        expected = [[0, 0], [1, 0], [0, 1]] if uv else np.zeros((3, 2)).tolist()
        assert mesh.corner_uv[0].tolist() == expected, face
        assert any("no texture coordinates" in w for w in mesh.warnings) is not uv
        if normal:
            np.testing.assert_allclose(mesh.corner_normals, [[[0, 0, 1]] * 3], atol=1e-6)
        else:
            assert mesh.corner_normals is None


def test_materials_keep_statement_order_across_polygon_sizes(tmp_path: Path) -> None:
    obj = CUBE.replace("f 5 6 7 8", "usemtl two\nf 5 6 7 8").replace(
        "f 1 2 6 5", "f 1 2 6\nf 1 6 5\nusemtl one\nf 1 2 6 5"
    )
    mtl = "newmtl one\nKd 1 0 0\nnewmtl two\nKd 0 0.25 0\n"
    mesh = read(tmp_path, "mtllib a.mtl\n" + obj, a_mtl=mtl)
    names = [mesh.materials[i].name for i in mesh.face_material]
    assert names == [""] * 2 + ["two"] * 4 + ["one"] * 8
    assert mesh.materials[names.index("two") and mesh.face_material[2]].diffuse.tolist() == [0, 0.25, 0]


@pytest.mark.parametrize(
    ("statements", "specular", "roughness", "alpha"),
    [
        ("Ks 0.4 0.4 0.4\nNs 10\nd 1\nillum 2", 0.4, 1 - np.sqrt(10) / 30, 1.0),  # ShapeNet's own
        ("Ks 0 0.3 0.6\nNs 100\nd 0.25", 0.3, 1 - 10 / 30, 0.25),
        ("Ks 2 2 2\nNs 2000", 1.0, 0.0, 1.0),
        ("illum 2", 1.0, 0.0, 1.0),
        ("Kd 0.1 0.2 0.3", 0.0, 1.0, 1.0),
        ("Ks 0.5 0.5 0.5", 0.5, 0.0, 1.0),
    ],
)
def test_shading_values_follow_the_importer(
    tmp_path: Path, statements: str, specular: float, roughness: float, alpha: float
) -> None:
    mesh = read(tmp_path, f"mtllib a.mtl\nusemtl m\n{CUBE}", a_mtl=f"newmtl m\n{statements}\n")
    material = mesh.materials[0]
    assert (material.specular, material.roughness, material.alpha) == pytest.approx((specular, roughness, alpha))
    assert material.diffuse.tolist() == pytest.approx([0.1, 0.2, 0.3] if "Kd" in statements else [0.8] * 3)


def test_texture_is_found_by_name_without_case_and_shrunk(tmp_path: Path) -> None:
    mtl = "newmtl m\nmap_Kd -s 1 1 1 -blendu on C:\\somebody\\My Pictures\\A.PNG\n"
    mesh = read(tmp_path, f"mtllib a.mtl\nusemtl m\n{CUBE}", a_mtl=mtl, a_png=png(1200, 300))
    texture = mesh.materials[0].texture
    assert texture is not None and texture.shape == (128, 512, 3) and texture.dtype == np.uint8
    assert texture[5, 7].tolist() == [200, 10, 30]
    assert any("placement options" in w for w in mesh.warnings)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("wood.jpg", "wood.jpg"),
        ("my wood 2.jpg", "my wood 2.jpg"),
        ("-s 1 1 1 -o 0 0 a b.png", "a b.png"),
        ("-mm 0 1 x", "x"),
    ],
)
def test_texture_options(argument: str, name: str) -> None:
    assert split_texture_options(argument)[0] == name


def test_first_texture_row_is_the_top() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    assert decode_texture(stream.getvalue())[:, 0].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("mtl", "png_bytes", "words"),
    [
        (None, None, "library a.mtl is missing"),
        ("newmtl other\n", None, "'m' is not defined"),
        ("newmtl m\nKd 0 1 0\nmap_Kd gone.png\n", None, "'gone.png' is missing"),
        ("newmtl m\nKd 0 1 0\nmap_Kd a.png\n", b"no image", "cannot be decoded"),
        ("newmtl m\nKd 0 1 0\nmap_d a.png\n", None, "opacity texture"),
        ("newmtl m\nKd red\n", None, "no number"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, mtl: str | None, png_bytes: bytes | None, words: str) -> None:
    others: dict[str, bytes | str] = {} if mtl is None else {"a_mtl": mtl}
    mesh = read(tmp_path, f"mtllib a.mtl\nusemtl m\n{CUBE}", **others, **({"a_png": png_bytes} if png_bytes else {}))
    assert any(words in w for w in mesh.warnings), mesh.warnings
    assert mesh.materials[0].texture is None
    if mtl and "Kd 0 1 0" in mtl:
        assert mesh.materials[0].diffuse.tolist() == [0, 1, 0]


def test_useless_normals_become_the_face_normal(tmp_path: Path) -> None:
    obj = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 0\nvn 0 3 4\nvn nan 0 1\nf 1//1 2//2 3//3\n"
    normals = read(tmp_path, obj).corner_normals
    np.testing.assert_allclose(normals, [[[0, 0, 1], [0, 0.6, 0.8], [0, 0, 1]]], atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello world",
        b"v 0 0 0\nv 1 0 0\n",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n",
        b"v 0 0 x\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        b"v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -9 2 3\n",
        b"\x00\xff\xfe" * 50,
    ],
)
def test_damaged_files_are_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MeshError, match="thing/a"):
        read(tmp_path, data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(CUBE) - 1), st.binary(min_size=1, max_size=4))
def test_any_damage_is_a_mesh_or_a_mesh_error(tmp_path: Path, at: int, junk: bytes) -> None:
    data = CUBE.encode()
    try:
        mesh = read(tmp_path, data[:at] + junk + data[at + len(junk) :])
    except MeshError:
        return
    assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)


L_SHAPE = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [1, 1, 0], [1, 3, 0], [0, 3, 0]], float)


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("mirrored", [False, True])
def test_concave_polygons_are_cut_without_overlap(start: int, mirrored: bool) -> None:
    turn = np.linalg.qr(np.random.default_rng(start).normal(size=(3, 3)))[0]
    points = np.roll(L_SHAPE, start, axis=0)[:: -1 if mirrored else 1] @ turn.T
    corners = points[cut_ears(points)]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    assert np.linalg.norm(area, axis=1).sum() == pytest.approx(4.0)  # the shape's own area: no overlap
    assert np.linalg.norm(area.sum(axis=0)) == pytest.approx(4.0)  # all the same way round


def test_a_fan_keeps_the_first_corner_and_order() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    quad, triangle = np.array([[[0], [1], [2], [3]]]), np.array([[[1], [2], [3]]])
    corners, lines = triangulate(square, [(quad, np.array([1])), (triangle, np.array([0]))])
    assert corners[..., 0].tolist() == [[1, 2, 3], [0, 1, 2], [0, 2, 3]]
    assert lines.tolist() == [0, 1, 1]


def test_random_polygons_keep_area_and_corners() -> None:
    """Stars with corners on their edges and on a grid, in any plane, where shapely finds no crossing."""
    rng, seen = np.random.default_rng(0), 0
    for _ in range(200):
        n = int(rng.integers(4, 25))
        angle = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.8, n)) / n
        flat = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(0.1, 1, (n, 1))
        for at in rng.integers(0, n, int(rng.integers(0, 4))):
            flat = np.insert(flat, at + 1, flat[[at, (at + 1) % len(flat)]].mean(axis=0), axis=0)
        flat = np.round(flat * 8) / 8 if rng.random() < 0.3 else flat
        if not (outline := shapely.Polygon(flat)).is_valid:
            continue
        points = np.pad(flat, ((0, 0), (0, 1))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0].T + rng.normal(size=3)
        cuts = cut_ears(points)
        parts = np.cross(points[cuts[:, 1]] - points[cuts[:, 0]], points[cuts[:, 2]] - points[cuts[:, 0]]) / 2
        assert np.linalg.norm(parts, axis=1).sum() == pytest.approx(outline.area)  # no overlap
        assert np.linalg.norm(parts.sum(axis=0)) == pytest.approx(outline.area)  # all the same way round
        seen += set(cuts.reshape(-1).tolist()) == set(range(len(points)))
    assert seen > 150  # corners on edges are kept, but for some where rounding folds an edge


def test_polygons_that_cross_themselves_or_have_no_area_are_cut_all_the_same() -> None:
    bow = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], float)
    for points in (bow, bow * [1, 0, 0], bow * 0):
        cuts = cut_ears(points)
        assert len(cuts) and cuts.min() >= 0 and cuts.max() < 4
