"""Folders of GLB files: annotations, nested transforms, embedded textures and opacity."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from equissl.datasets.meshes import (
    MeshError,
    MeshSourceError,
    ObjaverseSource,
    get_mesh_source,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


def glb(path: Path, scene: trimesh.Scene | trimesh.Trimesh) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(scene.export(file_type="glb"))


def quad(texture: Image.Image, uv: np.ndarray, **material: object) -> trimesh.Trimesh:
    """Two triangles: left and right half of a picture."""
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [6, 0, 0], [5, 1, 0]]
    shape = trimesh.Trimesh(corners, [[0, 1, 2], [3, 4, 5]], process=False)
    surface = trimesh.visual.material.PBRMaterial(baseColorTexture=texture, **material)
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, material=surface)
    return shape


IDS = tuple(f"{i:032x}" for i in range(1, 4))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "hf-objaverse-v1"
    for name in IDS:
        glb(root / "glbs" / "000-023" / f"{name}.glb", trimesh.creation.box((1, 2, 3)))
    return root


def test_classes_licences_and_creators(root: Path) -> None:
    source = get_mesh_source(str(root))
    assert isinstance(source, ObjaverseSource) and source.classes == ("object",)
    note = {"license": "by-nc", "user": {"username": "u", "displayName": "Ann"}, "categories": [{"name": "cars"}]}
    (root / "metadata").mkdir()
    text = json.dumps({IDS[1]: note, "other": {}})
    (root / "metadata" / "000-023.json.gz").write_bytes(gzip.compress(text.encode()))
    (root / "metadata" / "000-099.json.gz").write_bytes(b"of a folder that is not here, and not read")
    source = ObjaverseSource(root)
    assert source.classes == ("cars", "object")
    entry = source.entry(1)
    assert (entry.name, entry.licence, entry.creator) == (f"cars/{IDS[1]}", "CC BY-NC 4.0", "Ann")
    (root / "lvis-annotations.json").write_text(json.dumps({"mug": [IDS[2]], "car_(automobile)": [IDS[1]]}))
    source = ObjaverseSource(root)
    assert [e.name for e in [source.entry(i) for i in range(len(source))]] == [
        f"car_(automobile)/{IDS[1]}",
        f"mug/{IDS[2]}",
    ]
    (note,) = get_mesh_source(str(root)).notes  # type: ignore[attr-defined]
    assert note.endswith("without a category in the LVIS annotations are left out: 1")
    (root / "lvis-annotations.json").write_text("[]")
    with pytest.raises(MeshSourceError, match=r"JSON object in .*lvis-annotations\.json, got a list"):
        ObjaverseSource(root)


def test_nested_transforms(root: Path) -> None:
    """Against the matrices multiplied out by hand."""
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0, 0])
    shift, scale = trimesh.transformations.translation_matrix([4, 5, 6]), np.diag([2.0, 3.0, 0.5, 1.0])
    scene = trimesh.Scene()
    scene.graph.update("outer", "world", matrix=turn)
    scene.graph.update("inner", "outer", matrix=shift)
    box, ball = trimesh.creation.box((1, 2, 3)), trimesh.creation.icosphere(1)
    scene.add_geometry(box, node_name="leaf", parent_node_name="inner", transform=scale)
    scene.add_geometry(ball, node_name="ball", parent_node_name="outer")
    glb(root / "glbs" / "000-023" / f"{IDS[0]}.glb", scene)
    mesh = ObjaverseSource(root).load(0)
    points = np.concatenate(
        [
            trimesh.transform_points(box.vertices, turn @ shift @ scale),
            trimesh.transform_points(ball.vertices, turn),
        ]
    )
    points = points @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).T
    low, high = points.min(axis=0), points.max(axis=0)
    expected = (points - (low + high) / 2) / np.linalg.norm(high - low)
    order, expected_order = np.lexsort(mesh.vertices.T.round(4)), np.lexsort(expected.T.round(4))
    np.testing.assert_allclose(mesh.vertices[order], expected[expected_order], atol=2e-4)
    assert len(mesh.faces) == len(box.faces) + len(ball.faces)


def half_transparent(opacity: int) -> Image.Image:
    pixels = np.full((4, 8, 4), 255, np.uint8)
    pixels[:, 4:, 3], pixels[..., 1:3] = opacity, 0
    return Image.fromarray(pixels, "RGBA")


UV = np.array([[0.1, 0.1], [0.3, 0.1], [0.1, 0.6], [0.7, 0.1], [0.9, 0.1], [0.7, 0.6]])


@pytest.mark.parametrize(
    ("mode", "opacity", "faces", "alpha"),
    [
        ("OPAQUE", 0, 2, 1.0),
        ("MASK", 100, 1, 1.0),
        ("MASK", 200, 1, 1.0),
        ("MASK", 255, 2, 1.0),
        ("BLEND", 0, 1, 0.5),
        ("BLEND", 51, 2, 0.3),
    ],
)
def test_embedded_texture_and_opacity(root: Path, mode: str, opacity: int, faces: int, alpha: float) -> None:
    """The opacity is the texture's times the factor's (0.502); a face that it hides is cut out."""
    shape = quad(half_transparent(opacity), UV, alphaMode=mode, baseColorFactor=[255, 255, 255, 128])
    glb(root / "glbs" / "000-023" / f"{IDS[0]}.glb", shape)
    mesh = ObjaverseSource(root).load(0)
    assert len(mesh.faces) == faces
    assert mesh.materials[0].alpha == pytest.approx(alpha, abs=2e-3)
    texture = mesh.materials[0].texture
    assert texture is not None and texture.shape[2] == 3 and texture[0, 0].tolist() == [255, 0, 0]


def test_wholly_hidden_is_an_error(root: Path) -> None:
    shape = quad(Image.fromarray(np.zeros((2, 2, 4), np.uint8), "RGBA"), UV, alphaMode="MASK")
    glb(root / "glbs" / "000-023" / f"{IDS[0]}.glb", shape)
    with pytest.raises(MeshError, match=f"object/{IDS[0]}: empty mesh"):
        ObjaverseSource(root).load(0)
