"""A folder of classes: formats as trimesh writes them, axes, normalisation, damaged files and wrong folders."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from equissl.datasets.meshes import FolderSource, MeshError, MeshSourceError, get_mesh_source
from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.datasets.meshes.normalise import normalise_mesh
from equissl.util.srgb import srgb_decode

FORMATS = ("obj", "off", "glb", "ply", "stl")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One box of 1 x 2 x 4 in each format, one of them two folders deep."""
    root = tmp_path / "meshes"
    for k, extension in enumerate(FORMATS):
        folder = root / ("box" if k % 2 else "crate") / ("deep" if extension == "ply" else "")
        folder.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, 2, 4)).export(folder / f"thing.{extension}")
    return root


def by_extension(source: FolderSource) -> dict[str, int]:
    return {source.entry(i).name.rsplit(".", 1)[-1]: i for i in range(len(source))}


def test_classes_names_and_labels(root: Path) -> None:
    source = FolderSource(root, licence="CC0", creator="me")
    assert source.classes == ("box", "crate")
    entries = [source.entry(i) for i in range(len(source))]
    names = ["box/thing.off", "box/deep/thing.ply", "crate/thing.glb", "crate/thing.obj", "crate/thing.stl"]
    assert sorted(e.name for e in entries) == sorted(names)
    assert all(source.classes[e.label] == e.name.split("/")[0] for e in entries)
    assert {(e.source, e.licence, e.creator) for e in entries} == {("folder", "CC0", "me")}


@pytest.mark.parametrize("extension", FORMATS)
def test_each_format_is_normalised_with_its_up_axis(root: Path, extension: str) -> None:
    default = FolderSource(root)
    size = np.ptp(default.load(by_extension(default)[extension]).vertices, axis=0)
    box, diagonal = np.array([1, 2, 4]), np.sqrt(21)
    expected = box[[0, 2, 1]] if extension in ("obj", "glb") else box
    np.testing.assert_allclose(size, expected / diagonal, rtol=1e-5)
    for up, order in (("x", [2, 1, 0]), ("y", [0, 2, 1]), ("z", [0, 1, 2])):
        source = FolderSource(root, up=up)  # type: ignore[arg-type]
        mesh = source.load(by_extension(source)[extension])
        np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), box[order] / diagonal, rtol=1e-5)
        assert len(mesh.faces) == 12
        assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume > 0  # a turn, not a mirror


def test_y_up_goes_to_z_up_as_blender_does(tmp_path: Path) -> None:
    (tmp_path / "m" / "a").mkdir(parents=True)
    # a tetrahedron whose tips point along x, y and z
    (tmp_path / "m" / "a" / "t.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 4 3\n"
    )
    vertices = FolderSource(tmp_path / "m").load(0).vertices * np.sqrt(14)
    np.testing.assert_allclose(vertices - vertices[0], [[0, 0, 0], [1, 0, 0], [0, 0, 2], [0, -3, 0]], atol=1e-5)


def test_glb_texture_factor_and_uv(tmp_path: Path) -> None:
    (tmp_path / "m" / "a").mkdir(parents=True)
    image = Image.fromarray(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8).repeat(4, 0).repeat(8, 1))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=image,
        baseColorFactor=[255, 255, 255, 128],
        roughnessFactor=0.25,
        metallicFactor=0.0,
        alphaMode="BLEND",
    )
    uv = np.array([[0.5, 0.9], [0.5, 0.9], [0.5, 0.9]])  # near the top of the image
    shape = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    shape.export(tmp_path / "m" / "a" / "t.glb")
    mesh = FolderSource(tmp_path / "m").load(0)
    assert mesh.corner_uv is not None
    np.testing.assert_allclose(mesh.corner_uv[0], uv, atol=1e-3)
    surface = mesh.materials[0]
    assert surface.texture is not None and surface.texture[0, 0].tolist() == [255, 0, 0]
    assert (surface.roughness, surface.alpha) == pytest.approx((0.25, 128 / 255), abs=1e-3)


def test_glb_plain_colour_is_linear(tmp_path: Path) -> None:
    (tmp_path / "m" / "a").mkdir(parents=True)
    shape = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[51, 102, 204, 255])
    shape.visual = trimesh.visual.TextureVisuals(material=material)
    shape.export(tmp_path / "m" / "a" / "t.glb")
    np.testing.assert_allclose(FolderSource(tmp_path / "m").load(0).materials[0].diffuse, [0.2, 0.4, 0.8], atol=2e-3)


def test_face_colours_of_ply_are_kept(tmp_path: Path) -> None:
    (tmp_path / "m" / "a").mkdir(parents=True)
    colours = np.random.default_rng(0).integers(0, 256, (12, 4)).astype(np.uint8)
    trimesh.Trimesh(**trimesh.creation.box().to_dict(), face_colors=colours).export(tmp_path / "m" / "a" / "t.ply")
    mesh = FolderSource(tmp_path / "m").load(0)
    expected = np.repeat(srgb_decode(colours[:, None, :3] / 255), 3, axis=1)
    np.testing.assert_allclose(mesh.materials[0].diffuse * mesh.corner_colours, expected, atol=1e-6)


@pytest.mark.parametrize("extension", FORMATS)
def test_damaged_bytes_name_the_mesh(root: Path, extension: str) -> None:
    source = FolderSource(root)
    index = by_extension(source)[extension]
    name = source.entry(index).name
    data = (root / name).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [
        b"",
        data[: len(data) // 3],
        rng.bytes(300),
        data.replace(b"1", b"nan") if extension in ("off", "obj") else b"\0" * 500,
    ]
    for bytes_ in damaged:
        (root / name).write_bytes(bytes_)
        with pytest.raises(MeshError, match=name):
            source.load(index)


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "empty"),
        (np.zeros((3, 3)), np.array([[0, 1, 2]]), "extent"),
        (np.array([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]]), np.array([[0, 1, 2]]), "not finite"),
        (np.array([[0, 0, 0], [1, 0, 0], [0, np.inf, 0]]), np.array([[0, 1, 2]]), "not finite"),
        (np.eye(3), np.array([[0, 1, 3]]), "outside"),
        # vertices that no face uses do not count
        (np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [9, 9, 9]]), np.array([[0, 1, 2]]), "extent"),
    ],
)
def test_useless_meshes_are_named(vertices: np.ndarray, faces: np.ndarray, words: str) -> None:
    mesh = Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        np.zeros(len(faces), np.int32),
        None,
        None,
        (Material(),),
        "a/b",
    )
    with pytest.raises(MeshError, match=f"a/b.*{words}"):
        normalise_mesh(mesh)


def test_colours_that_are_one_go_into_the_material() -> None:
    """Of four materials: one colour, several, one over a texture, white."""
    rng, texture = np.random.default_rng(0), np.zeros((2, 2, 3), np.uint8)
    face_material = rng.permutation(np.repeat(np.arange(4), 5)).astype(np.int32)
    colours = np.array([[0.5, 1, 0], [0, 0, 0], [0.1, 0.2, 0.3], [1, 1, 1]], np.float32)[face_material]
    colours = np.repeat(colours[:, None], 3, axis=1)
    colours[face_material == 1] = rng.random((5, 3, 3))
    half = Material(diffuse=np.full(3, 0.5, np.float32))
    vertices, faces = rng.random((60, 3)).astype(np.float32), np.arange(60, dtype=np.int32).reshape(20, 3)
    materials = (half, half, Material(texture=texture), half)
    uv = np.zeros((20, 3, 2), np.float32)
    mesh = normalise_mesh(Mesh(vertices, faces, face_material, uv, None, materials, corner_colours=colours))
    np.testing.assert_array_equal(mesh.materials[0].diffuse, [0.25, 0.5, 0])
    assert all(mesh.materials[i].diffuse.tolist() == materials[i].diffuse.tolist() for i in (1, 2, 3))
    assert mesh.corner_colours is not None
    kept = np.isin(face_material, [1, 2])
    np.testing.assert_array_equal(mesh.corner_colours[kept], colours[kept])
    assert (mesh.corner_colours[~kept] == 1).all()
    plain = Mesh(vertices, faces, face_material * 0, None, None, (half,), corner_colours=np.full((20, 3, 3), 0.5))
    assert normalise_mesh(plain).corner_colours is None
    np.testing.assert_array_equal(normalise_mesh(plain).materials[0].diffuse, [0.25] * 3)


def test_wrong_folders_say_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(MeshSourceError, match=r"does not exist.*CLASS/FILE"):
        FolderSource(tmp_path / "gone")
    (tmp_path / "flat").mkdir()
    with pytest.raises(MeshSourceError, match=r"no objects.*found no mesh file among: nothing"):
        FolderSource(tmp_path / "flat")
    (tmp_path / "flat" / "chair.obj").write_text("v 0 0 0\n")
    with pytest.raises(MeshSourceError, match=r"1 mesh files directly in it among: chair\.obj"):
        get_mesh_source(str(tmp_path / "flat"))
    with pytest.raises(MeshSourceError, match="is a file"):
        FolderSource(tmp_path / "flat" / "chair.obj")
    with pytest.raises(MeshSourceError, match="existing folder, got 'sweethome'"):
        get_mesh_source("sweethome")


def test_unknown_class_names_the_known(root: Path) -> None:
    with pytest.raises(MeshSourceError, match="no class sphere; it has box, crate"):
        FolderSource(root, classes=["sphere"])
    assert FolderSource(root, classes=["crate"]).classes == ("crate",)


def test_pickled_source_loads_the_same(root: Path) -> None:
    source = FolderSource(root)
    before = source.load(0)
    after = pickle.loads(pickle.dumps(source)).load(0)
    np.testing.assert_array_equal(before.vertices, after.vertices)
