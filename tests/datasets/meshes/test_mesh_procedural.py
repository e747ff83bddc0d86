"""Parametric objects: valid, repeatable, distinct, and not the same after a turn about z."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.spatial import cKDTree

from equissl.datasets.meshes import PROCEDURAL_CLASSES, MeshSourceError, ProceduralSource
from equissl.datasets.meshes.builder import Builder, smooth_normals
from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.meshes.procedural import make_object
from equissl.datasets.meshes.sweethome3d import read_labels

#: Least share of objects that a half turn about z must change visibly in shape. The other classes' real objects are
#: (nearly) the same after it: tables, windows, railings and columns.
HALF_TURN = {
    "bookcase_shelf": 0.9,
    "cabinet": 0.5,
    "car": 0.9,
    "chair": 0.95,
    "bed": 0.9,
    "bottle": 0.5,
    "cup_glass": 0.6,
    "door": 0.8,
    "electronics": 0.9,
    "hand_tool": 0.9,
    "lamp": 0.8,
    "oven_stove": 0.9,
    "person": 0.95,
    "plant": 0.95,
    "plug_switch": 0.9,
    "radiator": 0.9,
    "sofa": 0.95,
    "tree": 0.9,
}


@pytest.mark.parametrize("name", PROCEDURAL_CLASSES)
def test_every_object_is_valid_and_normalised(name: str) -> None:
    for instance in range(25):
        mesh = make_object(name, instance, seed=3)
        assert 50 <= len(mesh.faces) <= 3000, len(mesh.faces)
        assert np.isfinite(mesh.vertices).all()
        np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=1e-6)
        assert np.linalg.norm(np.ptp(mesh.vertices, axis=0)) == pytest.approx(1, abs=1e-5)
        assert mesh.face_material.min() >= 0 and mesh.face_material.max() < len(mesh.materials)
        assert mesh.corner_normals is not None
        np.testing.assert_allclose(np.linalg.norm(mesh.corner_normals, axis=-1), 1, atol=1e-4)
        for material in mesh.materials:
            assert ((material.diffuse >= 0) & (material.diffuse <= 1)).all()
            assert 0 <= material.specular <= 1 and 0 <= material.roughness <= 1
        assert (mesh.corner_uv is not None) == any(m.texture is not None for m in mesh.materials)


@pytest.mark.parametrize("name", PROCEDURAL_CLASSES)
def test_repeatable_and_distinct(name: str) -> None:
    def key(instance: int, seed: int) -> bytes:
        mesh = make_object(name, instance, seed)
        colours = np.array([m.diffuse for m in mesh.materials])
        return mesh.vertices.tobytes() + mesh.faces.tobytes() + colours.tobytes()

    assert key(4, 1) == key(4, 1)
    assert len({key(i, s) for i in range(6) for s in range(3)}) == 18


def surface_points(mesh: Mesh, count: int, seed: int) -> np.ndarray:
    rng, corners = np.random.default_rng(seed), mesh.vertices[mesh.faces].astype(float)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(area), count, p=area / area.sum())]
    return (chosen * rng.dirichlet((1, 1, 1), count)[..., None]).sum(axis=1)


def change_after_turn(mesh: Mesh, degrees: float) -> float:
    """How far the farthest 0.2 % of surface points move off the surface, relative to the same without a turn."""
    first, second = surface_points(mesh, 5000, 0), surface_points(mesh, 5000, 1)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = second @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
    tree = cKDTree(first)
    return float(np.quantile(tree.query(turned)[0], 0.998) / np.quantile(tree.query(second)[0], 0.998))


@pytest.mark.parametrize("name", sorted(HALF_TURN))
def test_a_half_turn_shows(name: str) -> None:
    changed = [change_after_turn(make_object(name, i), 180) > 1.25 for i in range(20)]
    assert np.mean(changed) >= HALF_TURN[name], np.mean(changed)


@pytest.mark.parametrize(
    "name", [c for c in PROCEDURAL_CLASSES if c not in ("bottle", "cup_glass", "lamp", "railing_column", "tree")]
)
def test_a_quarter_turn_shows(name: str) -> None:
    changed = [change_after_turn(make_object(name, i), 90) > 1.25 for i in range(20)]
    assert np.mean(changed) >= 0.85, np.mean(changed)


@pytest.mark.parametrize("name", ["chair", "sofa"])
def test_backs_are_behind(name: str) -> None:
    for instance in range(20):
        points = surface_points(make_object(name, instance), 2000, 0)
        assert points[points[:, 2] > 0.6 * points[:, 2].max()][:, 1].mean() < 0


@pytest.mark.parametrize("name", ["cabinet", "oven_stove", "electronics"])
def test_most_detail_is_in_front(name: str) -> None:
    ahead = [np.mean(make_object(name, i).vertices[:, 1]) > 0 for i in range(20)]
    assert np.mean(ahead) > 0.6


def test_class_names_are_those_of_the_real_ones() -> None:
    assert len(PROCEDURAL_CLASSES) >= 12
    assert set(PROCEDURAL_CLASSES) <= {row["class"] for row in read_labels()}


def test_source_cycles_classes_evenly() -> None:
    source = ProceduralSource(9, seed=2, classes=["table", "car"])
    assert source.classes == ("car", "table")
    assert [source.entry(i).label for i in range(9)] == [0, 1] * 4 + [0]
    assert len({source.entry(i).name for i in range(9)}) == 9
    assert source.entry(0).source == "procedural"
    # an object depends on seed, class and instance alone
    longer = ProceduralSource(40, seed=2, classes=["bed", "car", "table"])
    other = next(i for i in range(40) if longer.entry(i).name == source.entry(3).name)
    np.testing.assert_array_equal(source.load(3).vertices, longer.load(other).vertices)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).load(3).vertices, source.load(3).vertices)


def test_source_refuses_nonsense() -> None:
    with pytest.raises(MeshSourceError, match="at least 1, got 0"):
        ProceduralSource(0)
    with pytest.raises(MeshSourceError, match="no class spaceship; it has bed"):
        ProceduralSource(3, classes=["spaceship"])
    with pytest.raises(IndexError):
        ProceduralSource(3).load(3)


def test_smooth_normals_of_a_sphere_and_a_cube() -> None:
    builder = Builder(np.random.default_rng(0))
    builder.blob((0, 0, 0), (1, 1, 1), builder.material("white"), sides=48)
    sphere = builder.mesh("sphere")
    outward = sphere.vertices[sphere.faces] / np.linalg.norm(sphere.vertices[sphere.faces], axis=-1, keepdims=True)
    assert sphere.corner_normals is not None
    assert (np.abs((sphere.corner_normals * outward).sum(-1)) > 0.995).all()
    builder = Builder(np.random.default_rng(0))
    builder.box((0, 0, 0), (1, 1, 1), builder.material("white"))
    cube = builder.mesh("cube")
    flat = np.repeat(cube.face_normals()[:, None], 3, axis=1)
    np.testing.assert_allclose(smooth_normals(cube.vertices, cube.faces), flat, atol=1e-6)


def test_placed_turns_then_shifts() -> None:
    builder = Builder(np.random.default_rng(0))
    with builder.placed((1, 0, 0), yaw=np.pi / 2), builder.placed((0, 2, 0)):
        builder.add(np.array([[1.0, 0, 0]]), np.zeros((0, 3), int), 0)
    np.testing.assert_allclose(builder._vertices[0], [[-1, 1, 0]], atol=1e-12)  # (1,2,0) turned to (-2,1,0), shifted
