"""OBJ files in the forms that programs write; each form is read as the plain one, or said to be unreadable."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.obj import read_obj
from equissl.util.srgb import srgb_decode

POINTS = [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]
OBJ = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\nmtllib a.mtl\nusemtl red\n"
OBJ += "f 1/1/1 2/2/1 3/3/1\n"
MTL = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"


def read(folder: Path, files: dict[str, bytes | str]) -> Mesh:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_obj(FolderFiles(folder), "a.obj", "thing/a")


def png(colour: tuple[int, int, int] = (200, 10, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        OBJ.encode("utf-8-sig"),
        OBJ.encode("utf-16"),
        OBJ.encode("utf-16-le"),
        OBJ.encode("utf-16-be"),
        ("\ufeff" + OBJ).encode("utf-16-be"),
        OBJ.encode("utf-32"),
        OBJ.replace("\n", "\r").encode(),
        OBJ.replace("\n", " \r\n").encode(),
        OBJ.replace(" ", "\t").encode(),
        OBJ.replace(" ", "   ").encode(),
        OBJ.replace("v 0 0 0\n", "# C:\\models\\\nv 0 0 0\n").encode(),
        OBJ.replace("v 0 0 0\n", "v 0 0 0 # v 9 9 9\n").encode(),
        OBJ.replace("1/1/1 2", "1/1/1 \\\n2").encode(),
        OBJ.replace("1/1/1 2", "1/1/1 \\  \r\n  2").encode(),
        OBJ.replace("v 1 0 0\n", "v 1 0 0 1.0\n").encode(),
        OBJ.replace("vt 0 0\n", "vt 0 0 0\n").replace("vt 1 0\n", "vt 1\n").encode(),
        OBJ.replace("usemtl red\n", "usemtl red # blue\n").encode(),
        OBJ.replace("a.mtl", '"a.mtl"').encode(),
        OBJ.replace("a.mtl", "A.MTL # library").encode(),
        OBJ.replace("a.mtl", "C:\\work\\a.mtl").encode(),
        OBJ.replace("mtllib a.mtl\n", "").encode(),
        OBJ.replace("vn 0 0 1\n", "vn 0 0 1\nvn -1.#IND 0 1\nvn -nan(ind) 0 1\n").encode(),
    ],
)
def test_each_form_is_the_plain_one(tmp_path: Path, data: bytes) -> None:
    mesh = read(tmp_path, {"a.obj": data, "a.mtl": MTL})
    assert mesh.vertices.tolist() == POINTS and mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.materials[0].diffuse.tolist() == [1, 0, 0] and mesh.warnings == ()
    assert mesh.corner_normals is not None and mesh.corner_normals.tolist() == [[[0, 0, 1]] * 3]


@pytest.mark.parametrize(
    "face",
    [
        "1/1/ 2/2/ 3/3/",
        "1// 2// 3//",
        "1/ 2/ 3/",
        "1/1/ 2//1 3",
        "1/1/1 2 3/3",  # as many slashes as three pairs
        "-4/-3/ -3/-2/ -2/-1/",
        "-4// -3// -2// # -9",
        "1 2 3",
    ],
)
def test_corners_may_leave_indices_out(tmp_path: Path, face: str) -> None:
    obj = "\n".join([*OBJ.splitlines()[:-1], f"f {face}"])
    mesh = read(tmp_path, {"a.obj": obj, "a.mtl": "newmtl red\nmap_Kd t.png\n", "t.png": png()})
    assert mesh.faces.tolist() == [[0, 1, 2]] and mesh.corner_uv is not None
    words = face.split(" #")[0].split()
    given = [len(word.split("/")) > 1 and word.split("/")[1] != "" for word in words]
    expected = np.where(np.array(given)[:, None], [[0, 0], [1, 0], [0, 1]], 0)
    np.testing.assert_array_equal(mesh.corner_uv[0], expected)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["v 0 0 0 1 0 0", "v 1 0 0 1 0 0", "v 0 1 0 0 0.5 0"], [[1, 0, 0], [1, 0, 0], [0, 0.5, 0]]),
        (["v 0 0 0 255 0 0", "v 1 0 0 255 0 0", "v 0 1 0 0 51 0"], [[1, 0, 0], [1, 0, 0], [0, 0.2, 0]]),
        (["v 0 0 0", "v 1 0 0 1 0 0", "v 0 1 0 0 0.5 0 1"], [[1, 1, 1], [1, 0, 0], [0, 0.5, 0]]),
        (
            ["v 0 0 0", "v 1 0 0", "v 0 1 0", "#MRGB ffff0000ffff0000", "#MRGB ff003300"],
            [[1, 0, 0], [1, 0, 0], [0, 0.2, 0]],
        ),
    ],
)
def test_vertex_colours_multiply_the_material(
    tmp_path: Path, statements: list[str], expected: list[list[float]]
) -> None:
    mesh = read(tmp_path, {"a.obj": "\n".join([*statements, "f 1 2 3"])})
    assert mesh.corner_colours is not None and mesh.materials[0].diffuse.tolist() == [1, 1, 1]
    np.testing.assert_allclose(mesh.corner_colours[0], srgb_decode(np.array(expected)), atol=1e-6)
    mesh = read(tmp_path, {"a.obj": "\n".join(["mtllib a.mtl", *statements, "usemtl blue", "f 1 2 3"]), "a.mtl": MTL})
    assert mesh.corner_colours is not None and mesh.materials[0].diffuse.tolist() == [0, 0, 1]


def test_white_vertices_change_nothing_and_paint_must_fit(tmp_path: Path) -> None:
    lines = ["v 0 0 0 1 1 1", "v 1 0 0 1 1 1", "v 0 1 0 1 1 1", "f 1 2 3"]
    mesh = read(tmp_path, {"a.obj": "\n".join(lines)})
    assert mesh.corner_colours is None and mesh.materials[0].diffuse.tolist() == pytest.approx([0.8] * 3)
    mesh = read(tmp_path, {"a.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\n#MRGB ffff0000\nf 1 2 3"})
    assert mesh.corner_colours is None and mesh.warnings == ("1 colours of 3 vertices: they are not used",)


@pytest.mark.parametrize(
    "data",
    [
        "\ufeff".encode("utf-16-le") + b"v 0",  # half a character
        OBJ.replace("v 1 0 0", "v 1,5 0 0").encode(),
        OBJ.replace("v 1 0 0", "v 1").encode(),
        OBJ.replace("f 1/1/1", "f 1/1/x").encode(),
        OBJ.replace("f 1/1/1", "f 9/1/1").encode(),
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\n#MRGB xx\nf 1 2 3",
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MeshError, match="thing/a"):
        read(tmp_path, {"a.obj": data, "a.mtl": MTL})
