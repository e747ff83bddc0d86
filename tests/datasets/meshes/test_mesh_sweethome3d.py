"""Sweet Home 3D's furniture: the label file, the search for the archives, and the real meshes against trimesh."""

from __future__ import annotations

import io
import pickle
import stat
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh

from equissl.datasets.meshes import MeshError, MeshSourceError, SweetHome3DSource, install_sweethome3d
from equissl.datasets.meshes import sweethome3d as module
from equissl.datasets.meshes.sweethome3d import ARCHIVES, find_sweethome3d, read_labels, read_model_rotations

needs_meshes = pytest.mark.skipif(
    find_sweethome3d() is None,
    reason="needs the Debian package sweethome3d-furniture (apt-get install sweethome3d-furniture)",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUISSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield SweetHome3DSource(root=module.SYSTEM_FOLDER if module.SYSTEM_FOLDER.is_dir() else find_sweethome3d())


def fake_archives(folder: Path, members: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True)
    for archive in ARCHIVES:
        with zipfile.ZipFile(folder / archive, "w") as stream:
            for name, data in (members or {}).items():
                stream.writestr(name, data)
    return folder


def test_label_file_counts() -> None:
    rows = read_labels()
    assert len(rows) == 820
    assert Counter(r["licence"] for r in rows) == {"CC0": 175, "CC-BY-3.0": 530, "CC-BY-3.0-US": 115}
    assert all(r["creator"] for r in rows)
    counts = Counter(r["class"] for r in rows if r["class"])
    large = {c: n for c, n in counts.items() if n >= 10}
    assert (len(large), sum(large.values())) == (22, 490)
    assert (large["chair"], large["table"], large["lamp"], large["railing_column"]) == (60, 44, 36, 10)


def test_label_file_is_the_shared_one(shared: Path) -> None:
    original = (shared / "data" / "sweethome3d_labels" / "labels.tsv").read_text("utf-8")
    assert [",".join(r.values()) for r in read_labels()] == [
        line.replace("\t", ",") for line in original.splitlines()[1:]
    ]


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EQUISSL_SWEETHOME3D", raising=False)
    assert find_sweethome3d() is None
    cached = fake_archives(tmp_path / "cache" / "sweethome3d")
    assert find_sweethome3d() == cached
    system = fake_archives(tmp_path / "system")
    assert find_sweethome3d() == system
    given, argument = fake_archives(tmp_path / "given"), fake_archives(tmp_path / "argument")
    monkeypatch.setenv("EQUISSL_SWEETHOME3D", str(given))
    assert find_sweethome3d() == given
    assert find_sweethome3d(argument) == argument
    assert find_sweethome3d(tmp_path / "wrong") is None


def test_absence_names_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_SWEETHOME3D", str(tmp_path))
    with pytest.raises(
        MeshSourceError, match=r"not in .*apt-get install -y sweethome3d-furniture.*apt-get download"
    ) as caught:
        SweetHome3DSource()
    assert str(tmp_path) in str(caught.value)


def fake_tools(folder: Path, apt_code: int = 0, fresh: bool = False) -> Path:
    """apt-get and dpkg-deb as they behave, without network; ``fresh``: the system has no package lists."""
    folder.mkdir()
    apt = [
        "[ $# = 2 ] && [ $fresh = 1 ] && exit 100",
        f"[ {apt_code} = 0 ] || {{ echo 'E: no network' >&2; exit {apt_code}; }}",
    ]
    apt += ["for last; do :; done", "[ $last = update ] || : > ${last}_1.8-1_all.deb"]
    dpkg = [
        "d=$3/usr/share/sweethome3d/furniture",
        "/bin/mkdir -p $d",
        f"for n in {' '.join(ARCHIVES)}; do : > $d/$n; done",
    ]
    scripts = {"apt-get": [f"fresh={int(fresh)}", *apt], "dpkg-deb": dpkg}
    for name, text in scripts.items():
        (folder / name).write_text("\n".join(["#!/bin/sh", *text, ""]))
        (folder / name).chmod(stat.S_IRWXU)
    return folder


@pytest.mark.parametrize("fresh", [False, True])
def test_install_without_root(fresh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYSTEM_FOLDER", Path("/usr/share/sweethome3d/furniture"))
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EQUISSL_SWEETHOME3D", raising=False)
    search = module.find_sweethome3d
    monkeypatch.setattr(module, "find_sweethome3d", lambda root=None: search(tmp_path / "cache" / "sweethome3d"))
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(MeshSourceError, match=r"apt-get and dpkg-deb are needed.*apt-get install"):
        install_sweethome3d()
    monkeypatch.setenv("PATH", str(fake_tools(tmp_path / "broken", apt_code=100)))
    with pytest.raises(MeshSourceError, match=r"`apt-get .* update` failed: E: no network.*as root"):
        install_sweethome3d()
    monkeypatch.setenv("PATH", str(fake_tools(tmp_path / "tools", fresh=fresh)))
    assert install_sweethome3d() == tmp_path / "cache" / "sweethome3d"
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["sweethome3d"]  # nothing left behind
    monkeypatch.setenv("PATH", "")
    assert install_sweethome3d() == tmp_path / "cache" / "sweethome3d"  # found, so nothing is run


def test_damaged_archive_names_the_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    source = SweetHome3DSource(root=fake_archives(tmp_path / "archives"), classes=["car"])
    with pytest.raises(MeshError, match=r"^car/.*is missing"):
        source.load(0)
    for archive in ARCHIVES:
        (tmp_path / "archives" / archive).write_bytes(b"PK no zip")
    source = SweetHome3DSource(root=tmp_path / "archives", classes=["car"])
    with pytest.raises(MeshError, match=r"^car/.*cannot be read"):
        source.load(0)


def test_model_rotations_are_read_row_by_row() -> None:
    text = "model#1=/a/B.obj\nmodel#2=/a/c.obj\nmodelRotation#1=1 0 0 0 0 1 0 -1 0\nwidth#2=3\n"
    rotations = read_model_rotations(text)
    assert list(rotations) == ["a/b.obj"]
    np.testing.assert_array_equal(rotations["a/b.obj"] @ [0, 0, 1], [0, 1, 0])  # a z-up file comes upright


@needs_meshes
def test_classes(source: SweetHome3DSource) -> None:
    assert (len(source), len(source.classes)) == (490, 22)
    entries = [source.entry(i) for i in range(len(source))]
    assert len({e.name for e in entries}) == 490
    assert all(e.licence and e.creator and e.source == "sweethome3d" for e in entries)
    chosen = SweetHome3DSource(classes=["car", "bed"], root=source._archives[ARCHIVES[0]].archive.parent)
    assert (chosen.classes, len(chosen)) == (("bed", "car"), 30)
    assert Counter(chosen.entry(i).label for i in range(30)) == {0: 17, 1: 13}


@needs_meshes
def test_real_meshes_against_trimesh(source: SweetHome3DSource) -> None:
    for index in range(0, 490, 35):
        mesh, row = source.load(index), source._rows[index]
        data = source._archives[row["archive"]].read(row["obj_path"])
        assert data is not None
        oracle = trimesh.load(io.BytesIO(data), file_type="obj", process=False, skip_materials=True, force="mesh")
        assert len(oracle.faces) == int(row["faces"]), mesh.name
        sides = np.linalg.norm(np.diff(oracle.triangles[:, [0, 1, 2, 0]], axis=1), axis=2)
        seen = 2 * oracle.area_faces > 1e-6 * sides.max(axis=1) ** 2
        # concave polygons are cut otherwise there, so that others of their triangles have no area
        assert len(mesh.faces) == pytest.approx(seen.sum(), rel=1e-3), mesh.name
        # in the catalogue's frame: x stays up to sign, y is up
        rotation = source._rotation(row["archive"], row["obj_path"])
        points = oracle.vertices[np.unique(oracle.faces[seen])] @ rotation.T
        extent = np.ptp(points, axis=0)[[0, 2, 1]]
        np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), extent / np.linalg.norm(extent), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=1e-6)


@needs_meshes
def test_pickled_source_reads_what_the_first_does(source: SweetHome3DSource) -> None:
    first = source.load(0)  # archives are open now
    again = pickle.loads(pickle.dumps(source)).load(0)
    np.testing.assert_array_equal(first.vertices, again.vertices)


@needs_meshes
@pytest.mark.parametrize(("name", "share"), [("chair", 0.95), ("sofa", 0.9), ("bed", 0.8)])
def test_fronts_look_along_plus_y(name: str, share: float) -> None:
    """The highest part of a seat or a bed is its back or headboard, which lies behind, at -y."""
    members = SweetHome3DSource([name])
    behind = []
    for index in range(len(members)):
        if int(members._rows[index]["faces"]) < 15000:
            shape = members.load(index)
            low, high = shape.bounds[:, 2]
            mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
            top = mesh.triangles_center[:, 2] > low + 0.85 * (high - low)
            behind.append(np.average(mesh.triangles_center[top, 1], weights=mesh.area_faces[top] + 1e-12) < 0)
    assert len(behind) >= 5
    assert np.mean(behind) >= share
