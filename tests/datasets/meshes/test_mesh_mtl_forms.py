"""Material libraries and textures in the forms that programs write, and how they are found."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_mesh_obj_forms import MTL, OBJ, png, read

from equissl.datasets.meshes.beside import find_beside
from equissl.datasets.meshes.files import FolderFiles, TarFiles, ZipFiles


@pytest.mark.parametrize(
    "data",
    [
        MTL.encode("utf-8-sig"),
        MTL.encode("utf-16"),
        MTL.replace(" ", "\t").encode(),
        MTL.replace("\n", "\r").encode(),
        MTL.replace("Kd", " \tkd").encode(),
        MTL.replace("newmtl red", "newmtl red # green").encode(),
        MTL.replace("Kd 1 0 0", "Kd 1 0 0 # 0 1 0").encode(),
        MTL.replace("newmtl red", "NEWMTL  red ").encode(),
        "# M\xf6bel\n".encode("latin-1") + MTL.encode(),
    ],
)
def test_each_form_of_a_library_is_the_plain_one(tmp_path: Path, data: bytes) -> None:
    mesh = read(tmp_path, {"a.obj": OBJ, "a.mtl": data})
    assert mesh.materials[0].diffuse.tolist() == [1, 0, 0] and mesh.warnings == ()


def test_names_that_differ_stay_different(tmp_path: Path) -> None:
    names = ["M\xf6bel", "M\xe4bel", "Material #25", "Material #26", "two words", "Red", "red"]
    mtl = "\n".join(f"newmtl {name}\nKd {k / 10} 0 0" for k, name in enumerate(names))
    faces = "\n".join(f"usemtl {name}\nf 1 2 3" for name in names)
    for one in ("latin-1", "utf-8", "utf-16"):
        for other in ("latin-1", "utf-8", "utf-16"):
            obj = OBJ.rsplit("usemtl", 1)[0] + faces
            mesh = read(tmp_path, {"a.obj": obj.encode(one), "a.mtl": mtl.encode(other)})
            shown = [mesh.materials[i].diffuse[0] for i in mesh.face_material]
            np.testing.assert_allclose(shown, np.arange(len(names)) / 10, err_msg=f"{one} {other}")
            assert mesh.warnings == ()


def test_a_name_that_is_not_defined_is_not_another(tmp_path: Path) -> None:
    mtl = "newmtl Material #25\nKd 1 0 0\n"
    mesh = read(tmp_path, {"a.obj": OBJ.replace("usemtl red", "usemtl Material #27"), "a.mtl": mtl})
    assert mesh.materials[0].diffuse[1] > 0
    assert mesh.warnings == ("material 'Material #27' is not defined; a plain one is used",)


@pytest.mark.parametrize(
    ("statement", "warnings"),
    [
        ("mtllib one.mtl two.mtl", 0),
        ("mtllib my one.mtl two.mtl", 0),
        ("mtllib two.mtl my one.mtl # all", 0),
        ("mtllib two.mtl\nmtllib my one.mtl", 0),
        ("mtllib gone one.mtl two.mtl my one.mtl", 1),
        ("mtllib my one.mtl gone.mtl", 1),
    ],
)
def test_several_libraries(tmp_path: Path, statement: str, warnings: int) -> None:
    obj = OBJ.replace("mtllib a.mtl", statement) + "usemtl blue\nf 1 3 2\n"
    red = "my one.mtl" if "my one" in statement else "one.mtl"
    mesh = read(tmp_path, {"a.obj": obj, red: "newmtl red\nKd 1 0 0\n", "two.mtl": "newmtl blue\nKd 0 0 1\n"})
    lacking = "blue" if "gone.mtl" in statement else ""
    for material, name, expected in zip(mesh.materials, ("red", "blue"), ([1, 0, 0], [0, 0, 1]), strict=True):
        assert (material.diffuse.tolist() == expected) is (name != lacking)
    assert len([w for w in mesh.warnings if "library" in w]) == warnings, mesh.warnings


@pytest.mark.parametrize(
    ("mtl", "colour", "warnings"),
    [
        ("newmtl only\nKd 0 1 0\n", [0, 1, 0], 0),
        (MTL, [0.8] * 3, 1),
        ("", [0.8] * 3, 0),
    ],
)
def test_faces_without_usemtl(tmp_path: Path, mtl: str, colour: list[float], warnings: int) -> None:
    mesh = read(tmp_path, {"a.obj": OBJ.replace("usemtl red\n", ""), "a.mtl": mtl})
    np.testing.assert_allclose(mesh.materials[0].diffuse, colour)
    assert len(mesh.warnings) == warnings


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Maps/T.png", "maps/t.PNG"),
        ("maps\\t.png", "maps/t.png"),
        (".\\maps\\my t.png", "maps/my t.png"),
        ('"my t.png"', "my t.png"),
        ("C:\\work\\maps\\t.png", "maps/t.png"),
        ("/home/somebody/t.png", "t.png"),
        ("../../t.png", "t.png"),
        ("t.png # wood", "t.png"),
        ("C#1.png", "C#1.png"),
        ("wood #1.png", "wood #1.png"),
        ("-s 1 1 1\t-o 0 0 my t.png", "my t.png"),
        ("M\xf6bel.png", "Mo\u0308bel.png"),  # composed and decomposed
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_textures_are_found(tmp_path: Path, name: str, file: str, encoding: str) -> None:
    mtl = f"newmtl red\nmap_Kd {name}\n".encode(encoding)
    mesh = read(tmp_path, {"a.obj": OBJ, "a.mtl": mtl, file: png()})
    assert mesh.materials[0].texture is not None, mesh.warnings
    assert mesh.materials[0].texture[0, 0].tolist() == [200, 10, 30]


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text(MTL)
    (tmp_path / "in").mkdir()
    for name in ("../secret.mtl", str(tmp_path / "secret.mtl"), "x" * 300, "a\0b"):
        assert find_beside(FolderFiles(tmp_path / "in"), "", name) is None


def test_archives_are_searched_as_folders_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("Things/Maps/T.png", b"data")
    with tarfile.open(tmp_path / "things.tar.xz", "w:xz") as tar:
        info = tarfile.TarInfo("things/Maps/T.png")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    for files in (ZipFiles(tmp_path / "z.zip"), TarFiles(tmp_path)):
        assert find_beside(files, "things", "maps\\t.PNG") is not None, files


@pytest.mark.parametrize(
    ("statement", "alpha"), [("d 0.25", 0.25), ("Tr 0.25", 0.75), ("d 0.5\nTr 0.25", 0.5), ("Tr 1", 1)]
)
def test_opacity(tmp_path: Path, statement: str, alpha: float) -> None:
    mesh = read(tmp_path, {"a.obj": OBJ, "a.mtl": f"newmtl red\n{statement}\n"})
    assert mesh.materials[0].alpha == alpha


def test_a_library_in_a_damaged_encoding_is_said(tmp_path: Path) -> None:
    mesh = read(tmp_path, {"a.obj": OBJ, "a.mtl": "\ufeff".encode("utf-16-le") + b"new"})
    assert any("a.mtl cannot be read" in warning for warning in mesh.warnings)
