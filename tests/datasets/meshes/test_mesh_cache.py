"""The cache of decoded meshes: what is stored comes back, changes are seen, damage and full disks do no harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.meshes import FolderSource, cache
from equissl.datasets.meshes.cache import cached_mesh
from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.mesh import Mesh

OBJ = "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\n"
OBJ += "f 1/1/1 2/2/1 3/3/1\nusemtl n\nf 1/1/1 2/2/1 4/3/1\nusemtl m\nf 1/1/1 3/2/1 4/3/1\nf 2/1/1 3/2/1 4/3/1\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    folder = tmp_path / "meshes" / "thing"
    folder.mkdir(parents=True)
    (folder / "a.obj").write_text(OBJ)
    (folder / "a.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd a.png\nnewmtl n\nmap_Kd a.png\nKs 0.5 0.5 0.5\nd 0.5\n")
    Image.new("RGB", (4, 4), (1, 2, 3)).save(folder / "a.png")
    return tmp_path / "meshes"


def entries(root: Path) -> list[Path]:
    return sorted((root.parent / "cache" / "meshes").glob("*"))


def assert_same(a: Mesh, b: Mesh) -> None:
    assert (a.name, a.warnings) == (b.name, b.warnings)
    for field in ("vertices", "faces", "face_material", "corner_uv", "corner_normals"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        assert getattr(a, field).dtype == getattr(b, field).dtype
    assert len(a.materials) == len(b.materials)
    for m, n in zip(a.materials, b.materials, strict=True):
        assert (m.name, m.specular, m.roughness, m.alpha) == (n.name, n.specular, n.roughness, n.alpha)
        np.testing.assert_array_equal(m.diffuse, n.diffuse)
        np.testing.assert_array_equal(m.texture, n.texture)


def test_second_load_is_the_stored_mesh(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FolderSource(root).load(0)
    assert len(entries(root)) == 1 and entries(root)[0].suffix == ".npz"
    monkeypatch.setattr("equissl.datasets.meshes.listed.read_mesh", None)  # decoding again would fail
    second = FolderSource(root).load(0)
    assert_same(first, second)
    assert second.materials[0].texture is second.materials[1].texture


def test_corner_colours_are_stored(root: Path) -> None:
    files, rng = FolderFiles(root), np.random.default_rng(0)
    plain = FolderSource(root).load(0)
    coloured = replace(plain, corner_colours=rng.random((len(plain.faces), 3, 3)).astype(np.float32))
    again = [cached_mesh(files, "thing/a.obj", "a", "coloured", decode) for decode in (lambda _: coloured, None)]
    for mesh in again:
        np.testing.assert_array_equal(mesh.corner_colours, coloured.corner_colours)


@pytest.mark.parametrize("changed", ["a.png", "a.mtl", "a.obj"])
def test_a_change_of_any_part_is_seen(root: Path, changed: str) -> None:
    before = FolderSource(root).load(0)
    file = root / "thing" / changed
    if changed == "a.png":
        Image.new("RGB", (4, 4), (9, 9, 9)).save(file)
    else:
        file.write_text(file.read_text().replace("Ks 0.5 0.5", "Ks 0.1 0.1").replace("v 0 0 1", "v 0 0 7"))
    after = FolderSource(root).load(0)
    with pytest.raises(AssertionError):
        assert_same(before, after)


def test_a_texture_that_appears_is_seen(root: Path) -> None:
    (root / "thing" / "a.png").unlink()
    without = FolderSource(root).load(0)
    assert without.corner_uv is None and any("a.png" in w for w in without.warnings)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(root / "thing" / "a.png")
    assert FolderSource(root).load(0).materials[0].texture is not None


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped"])
def test_a_damaged_entry_is_made_again(root: Path, damage: str) -> None:
    good = FolderSource(root).load(0)
    entry = entries(root)[0]
    data = entry.read_bytes()
    middle = data.index(good.vertices.tobytes())
    entry.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "empty": b"",
            "garbage": b"PK" + bytes(200),
            "flipped": data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :],
        }[damage]
    )
    assert_same(FolderSource(root).load(0), good)
    assert entries(root)[0].read_bytes() == data or len(entries(root)[0].read_bytes()) == len(data)
    assert_same(FolderSource(root).load(0), good)


def test_a_cache_that_cannot_be_written_warns_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root.parent / "cache").write_text("a file where the folder should be")
    source = FolderSource(root)
    first = source.load(0)
    assert_same(source.load(0), first)
    assert [record.getMessage().count("cannot be cached") for record in caplog.records] == [1]


def test_a_full_disk_leaves_no_half_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(stream: object, **arrays: np.ndarray) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "savez", full)
    assert len(FolderSource(root).load(0).faces) == 4
    assert "No space left" in caplog.text
    assert entries(root) == []
