"""Trees of published mesh collections: ShapeNet, ModelNet, a labelled collection in archives, and all in one build."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from equissl.datasets.meshes import (
    FolderSource,
    MeshError,
    MeshSourceError,
    ModelNetSource,
    ShapeNetSource,
    ShapesLabelledSource,
    get_mesh_source,
)
from equissl.datasets.meshes.threediebench_list import published_split, read_published_list
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.split import split_objects
from equissl.datasets.views.store.store import ViewStore

#: train and val objects of the 55 classes of 3DIEBench, by ascending synset
PUBLISHED = """3241/804 272/71 65/18 88/25 667/189 197/36 1452/361 51/22 354/98 413/85 145/41 731/208 1254/317 95/18
83/25 44/12 2788/726 676/155 5398/1380 512/139 49/16 79/14 889/204 58/15 581/163 235/63 632/165 121/41 479/117 333/91
1887/431 363/97 1274/323 75/19 55/12 119/33 270/67 171/43 188/51 80/16 239/68 489/113 126/40 54/12 1919/454 67/18
128/24 2538/635 186/32 6748/1688 861/228 114/19 316/73 1540/399 131/38"""
#: tips of a tetrahedron 1 along x, 2 along y, 3 along z of the file, from its corner
TIPS = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 4 3\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


def put(path: Path, text: str = TIPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def tips(source: object, index: int = 0) -> np.ndarray:
    """Rows: where the file's x, y and z axes point, times 1, 2 and 3."""
    vertices = source.load(index).vertices * np.sqrt(14)  # type: ignore[attr-defined]
    return np.round(vertices[1:] - vertices[0], 4)


def entries(source: object) -> list:
    return [source.entry(i) for i in range(len(source))]  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_the_axis_that_points_up_is_z_and_nothing_is_mirrored(tmp_path: Path, up: str) -> None:
    put(tmp_path / "meshes" / "a" / "m.obj")
    axes = tips(get_mesh_source(str(tmp_path / "meshes"), up=up)) / [[1], [2], [3]]  # type: ignore[arg-type]
    assert axes["xyz".index(up)].tolist() == [0, 0, 1]
    np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-3)


def test_up_is_for_files(tmp_path: Path) -> None:
    with pytest.raises(MeshSourceError, match="up is for folders of mesh files, got up=x with procedural"):
        get_mesh_source("procedural", 3, up="x")
    put(tmp_path / "meshes" / "a" / "m.obj")
    assert len(get_mesh_source(f"{tmp_path / 'meshes'}+procedural", 3, up="x")) == 3
    with pytest.raises(MeshSourceError, match="up to be one of x, y, z, got 'w'"):
        get_mesh_source(str(tmp_path / "meshes"), up="w")  # type: ignore[arg-type]


def test_files_that_no_reader_takes_are_counted_by_suffix(tmp_path: Path) -> None:
    root = tmp_path / "meshes"
    for name in ("a/m.obj", "b/m.obj", "a/m.fbx", "b/deep/n.FBX", "b/s.blend", "b/t.obj.gz", "a/noname", "loose.obj"):
        put(root / name)
    for companion in ("a/m.mtl", "a/skin.png", "README", "a/LICENSE.txt", "b/m.bin"):
        put(root / companion, "")
    expected = (
        f"files in {root} of formats that are not read: 2 .fbx, 1 .blend, 1 .gz, 1 without suffix "
        "(read: obj, glb, gltf, off, ply, stl)",
        f"mesh files directly in {root}, not in the folder of a class, are left out: 1",
    )
    source = get_mesh_source(str(root))
    assert source.notes == expected  # type: ignore[attr-defined]
    assert get_mesh_source(f"{root}+procedural", 4, classes=["a", "b", "chair"]).notes == expected  # type: ignore[attr-defined]
    put(tmp_path / "clean" / "a" / "m.obj")
    assert get_mesh_source(str(tmp_path / "clean")).notes == ()  # type: ignore[attr-defined]


class TestShapeNet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "ShapeNetCore.v2"
        for place in ("02691156/aa", "02691156/bb", "03085013/cc", "03001627/dd", "99999999/ee"):
            put(root / place / "models" / "model_normalized.obj")
        (root / "02691156" / "empty").mkdir()
        return root

    def test_labels_follow_the_synsets_not_the_names(self, root: Path) -> None:
        source = get_mesh_source(str(root))
        assert isinstance(source, ShapeNetSource)
        assert source.classes == ("airplane", "chair", "keyboard", "99999999")
        found = entries(source)
        assert [e.name for e in found] == [*("02691156/aa", "02691156/bb", "03001627/dd", "03085013/cc", "99999999/ee")]
        assert [e.label for e in found] == [0, 0, 1, 2, 3] and {e.split for e in found} == {None}
        assert "non-commercial" in found[0].licence and found[0].source == "shapenet"

    def test_objects_without_a_model_are_counted(self, root: Path) -> None:
        (note,) = get_mesh_source(str(root)).notes  # type: ignore[attr-defined]
        assert note.endswith("are left out: 1, e.g. 02691156/empty")

    def test_taxonomy_names(self, root: Path) -> None:
        rows = [{"synsetId": "02691156", "name": "aeroplane,plane"}, {"synsetId": "99999999", "name": "odd thing,x"}]
        (root / "taxonomy.json").write_text(json.dumps(rows))
        assert ShapeNetSource(root).classes == ("aeroplane", "chair", "keyboard", "odd_thing")
        (root / "taxonomy.json").write_text("[{}]")
        with pytest.raises(MeshSourceError, match=r"synsetId and name in .*taxonomy\.json: KeyError"):
            ShapeNetSource(root)

    def test_version_2_looks_along_minus_z_in_its_files(self, root: Path) -> None:
        """Up (y) becomes z; the front (-z) becomes +y."""
        np.testing.assert_allclose(tips(ShapeNetSource(root)), [[1, 0, 0], [0, 0, 2], [0, -3, 0]], atol=1e-4)

    def test_textures_beside_the_models_folder(self, root: Path) -> None:
        folder = root / "02691156" / "aa"
        put(folder / "models" / "model_normalized.mtl", "newmtl m\nKd 1 1 1\nmap_Kd ../images/texture0.png\n")
        text = "mtllib model_normalized.mtl\nusemtl m\nvt 0 0\n" + TIPS.replace("f 1 2 3", "f 1/1 2/1 3/1")
        put(folder / "models" / "model_normalized.obj", text)
        (folder / "images").mkdir()
        Image.new("RGB", (4, 4), (10, 200, 30)).save(folder / "images" / "texture0.png")
        texture = ShapeNetSource(root).load(0).materials[0].texture
        assert texture is not None and texture[0, 0].tolist() == [10, 200, 30]

    def test_version_1_looks_along_plus_x_in_its_files(self, tmp_path: Path) -> None:
        put(tmp_path / "v1" / "02691156" / "aa" / "model.obj")
        source = get_mesh_source(f"shapenet:{tmp_path / 'v1'}")
        np.testing.assert_allclose(tips(source), [[0, 1, 0], [0, 0, 2], [3, 0, 0]], atol=1e-4)

    def test_published_split_has_the_published_counts(self) -> None:
        counts = np.array([part.split("/") for part in PUBLISHED.split()], int)
        assert counts.sum(axis=0).tolist() == [41920, 10552]
        split = published_split(52472)
        labels = np.repeat(np.arange(55), counts.sum(axis=1))
        assert np.array_equal(np.bincount(labels[split == 0]), counts[:, 0])
        assert np.array_equal(np.bincount(labels[split == 1]), counts[:, 1])
        assert (split[[40209, 20160, 46761, 50181, 39164]] == 0).all()
        assert (split[[475, 855, 41643, 23274, 36722]] == 1).all()

    def test_object_list_alone_gives_objects_and_the_split_rule(self, root: Path) -> None:
        listed = [["02691156", "bb"], ["02691156", "gone"], ["03001627", "dd"], ["04379243", "x"]]
        np.save(root / "all_objects.npy", np.array(listed))
        source = ShapeNetSource(root)
        assert [e.name for e in entries(source)] == ["02691156/bb", "02691156/gone", "03001627/dd"]
        rule = published_split(4).tolist()
        assert [e.split for e in entries(source)] == rule[:3] and rule.count(0) == 3
        with pytest.raises(MeshError, match=r"02691156/gone: .*model_normalized\.obj is missing"):
            source.load(1)

    def test_val_list_alone_leaves_the_rest_to_train(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "lists").mkdir()
        np.save(tmp_path / "lists" / "val_images.npy", np.array(["/02691156/bb/", "/03001627/dd/"]))
        found = entries(ShapeNetSource(root, index=tmp_path / "lists"))
        assert [e.split for e in found] == [0, 1, 1, 0, 0]

    def test_both_lists_give_the_objects(self, root: Path) -> None:
        np.save(root / "val_images.npy", np.array(["/02691156/bb/"]))
        np.save(root / "train_images.npy", np.array(["/03001627/dd/"]))
        assert [(e.name, e.split) for e in entries(ShapeNetSource(root))] == [("02691156/bb", 1), ("03001627/dd", 0)]
        assert read_published_list(root).objects == ["02691156/bb", "03001627/dd"]
        (root / "val_images.npy").write_bytes(b"damaged")
        with pytest.raises(MeshSourceError, match=r"val_images\.npy"):
            ShapeNetSource(root)
        np.save(root / "val_images.npy", np.zeros((3, 3)))
        with pytest.raises(MeshSourceError, match=r"shape \(n,\) or \(n, 2\) .* float64 \(3, 3\)"):
            ShapeNetSource(root)

    def test_published_splits_are_kept_and_the_rest_drawn(self) -> None:
        labels, sources = [0] * 10 + [1] * 10, [""] * 20
        published = [1, 0, *[None] * 8, *[1] * 10]
        split = split_objects(labels, sources, 0.25, 0, published=published)
        assert split[:2].tolist() == [1, 0] and split[2:10].sum() == 2 and split[10:].all()
        assert np.array_equal(
            split_objects(labels, sources, 0.25, 0), split_objects(labels, sources, 0.25, 0, None, ())
        )


class TestModelNet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        box = trimesh.creation.box((1, 2, 3)).export(file_type="off")
        box = box if isinstance(box, str) else box.decode()
        for name in ("bathtub", "night_stand"):
            put(tmp_path / "ModelNet10" / name / "train" / f"{name}_0001.off", box)
            put(tmp_path / "ModelNet10" / name / "test" / f"{name}_0107.off", box.replace("OFF\n", "OFF", 1))
        put(tmp_path / "ModelNet10" / "__MACOSX" / "train" / "x.off", box)
        return tmp_path / "ModelNet10"

    def test_splits_and_broken_headers(self, root: Path) -> None:
        source = get_mesh_source(str(root))
        assert isinstance(source, ModelNetSource) and source.classes == ("bathtub", "night_stand")
        assert [(e.name, e.label, e.split) for e in entries(source)][1:3] == [
            ("bathtub/test/bathtub_0107", 0, 1),
            ("night_stand/train/night_stand_0001", 1, 0),
        ]
        broken = (root / "bathtub" / "test" / "bathtub_0107.off").read_text()
        assert broken.startswith("OFF8 12")
        whole, mended = source.load(0), source.load(1)
        assert np.array_equal(whole.vertices, mended.vertices) and len(mended.faces) == 12
        np.testing.assert_allclose(np.ptp(mended.vertices, axis=0) * np.sqrt(14), [1, 2, 3], rtol=1e-5)  # z is up


class TestShapesLabelled:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        rows = ["path\tclass\tvertices"]
        for name in ("Mug", "Bird"):
            for k in range(2):
                put(tmp_path / "unpacked" / name / f"m{k}.obj", TIPS.replace("v 0 0 3", f"v 0 0 {3 + k}"))
                rows.append(f"{name}/m{k}.obj\t{name}\t4")
        put(tmp_path / "unpacked" / "index.tsv", "\n".join(rows) + "\n")
        (tmp_path / "packed").mkdir()
        shutil.copy(tmp_path / "unpacked" / "index.tsv", tmp_path / "packed")
        for name in ("Mug", "Bird"):
            with tarfile.open(tmp_path / "packed" / f"{name}.tar.xz", "w:xz") as tar:
                tar.add(tmp_path / "unpacked" / name, arcname=name)
        return tmp_path

    def test_archives_and_folders_give_the_same(self, root: Path) -> None:
        packed, unpacked = (get_mesh_source(str(root / name)) for name in ("packed", "unpacked"))
        assert isinstance(packed, ShapesLabelledSource) and isinstance(unpacked, ShapesLabelledSource)
        assert entries(packed) == entries(unpacked) and packed.classes == ("Bird", "Mug")
        for i in range(4):
            assert np.array_equal(packed.load(i).vertices, unpacked.load(i).vertices)
        assert entries(packed)[0].licence.startswith("none stated")
        again = pickle.loads(pickle.dumps(packed))
        assert again.load(3).name == packed.load(3).name == entries(packed)[3].name

    def test_missing_and_damaged_archives(self, root: Path) -> None:
        archive = root / "packed" / "Mug.tar.xz"
        source = ShapesLabelledSource(root / "packed")
        archive.write_bytes(archive.read_bytes()[:100])
        with pytest.raises(MeshError, match=r"Mug/m0: cannot be read: .*Mug\.tar\.xz"):
            source.load(0)
        archive.unlink()
        with pytest.raises(MeshSourceError, match=r"1 of 2 classes are missing \(Mug\)(?s:.*)expected:(?s:.*)Bird"):
            ShapesLabelledSource(root / "packed")

    def test_the_real_collection(self, shared: Path) -> None:
        source = get_mesh_source(f"shapes_labelled:{shared / 'data' / 'shapes_labelled'}")
        assert len(source) == 1080 and len(source.classes) == 62
        names = [e.name for e in entries(source)]
        assert len(set(names)) == 1080
        mesh = source.load(names.index("Mug/D00172"))
        assert len(mesh.faces) > 100 and np.linalg.norm(np.ptp(mesh.vertices, axis=0)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("shapenet", "SYNSET/           eight digits"),
        ("modelnet", r"test/   NAME_0107\.off"),
        ("objaverse", "lvis-annotations.json "),
        ("shapes_labelled", "CLASS.tar.xz "),
    ],
)
def test_wrong_tree_shows_expected_and_found(tmp_path: Path, kind: str, words: str) -> None:
    put(tmp_path / "photos" / "cat" / "a.png")
    with pytest.raises(MeshSourceError, match=rf"as {kind}\nexpected:\n(?s:.*){words}(?s:.*)found in .*:\n  cat/  \(a"):
        get_mesh_source(f"{kind}:{tmp_path / 'photos'}")
    with pytest.raises(MeshSourceError, match=r"found in .*:\n  nothing: it does not exist"):
        get_mesh_source(f"{kind}:{tmp_path / 'none'}")


def test_names_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "m" / "02691156" / "aa" / "model.obj")
    with pytest.raises(MeshSourceError, match=r"shapenet:FOLDER, or the folder in \$EQUISSL_SHAPENET"):
        get_mesh_source("shapenet")
    monkeypatch.setenv("EQUISSL_SHAPENET", str(tmp_path / "m"))
    assert get_mesh_source("shapenet").classes == ("airplane",)
    assert isinstance(get_mesh_source(f"folder:{tmp_path / 'm'}"), FolderSource)
    joined = get_mesh_source(f"shapenet+{tmp_path / 'm'}+procedural", 4, classes=["airplane", "bottle"])
    assert [e.source for e in entries(joined)] == ["shapenet", "shapenet", "procedural", "procedural"]
    with pytest.raises(MeshSourceError, match="modelnet"):
        get_mesh_source("shapenets")


def test_every_kind_in_one_build(tmp_path: Path) -> None:
    """Published splits are kept, a heavy and a damaged mesh are named, licences are those of the trees."""
    box = trimesh.creation.box((1, 2, 3))
    for part, count in (("train", 3), ("test", 1)):
        for k in range(count):
            put(tmp_path / "mn" / "chair" / part / f"c{k}.off", str(box.export(file_type="off")))
    for k in range(2):
        put(tmp_path / "sn" / "03001627" / f"s{k}" / "models" / "model_normalized.obj")
    put(tmp_path / "sn" / "04379243" / "bad" / "models" / "model_normalized.obj", TIPS.replace("v 1", "v nan"))
    np.save(tmp_path / "sn" / "val_images.npy", np.array(["/03001627/s1/"]))
    (tmp_path / "ov").mkdir()
    box.export(tmp_path / "ov" / f"{1:032x}.glb")
    put(tmp_path / "sl" / "Mug" / "m.obj")
    put(tmp_path / "sl" / "index.tsv", "path\tclass\nMug/m.obj\tMug\n")
    spec = BuildSpec("+".join(str(tmp_path / name) for name in ("mn", "sn", "ov", "sl")), views=2, size=16)
    report = build_views(spec, tmp_path / "a.h5", 0, progress=False)
    assert [name for name, _ in report.skipped] == ["04379243/bad"] and "not finite" in report.skipped[0][1]
    store = ViewStore(report.path)
    assert store.classes == ("Mug", "chair", "object", "table")
    split = dict(zip(store.object_names, store.split.tolist(), strict=True))
    assert split["chair/test/c0"] == 1 and split["chair/train/c0"] == split["chair/train/c2"] == 0
    assert split["03001627/s0"] == 0 and split["03001627/s1"] == 1
    assert set(store.tables.sources) == {"modelnet", "shapenet", "objaverse", "shapes_labelled"}
    assert any("ShapeNet" in licence for licence in store.tables.licences)
