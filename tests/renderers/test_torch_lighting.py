"""The formulas on tensors against the same on arrays, which have their own oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers import image, lighting, materials, scene
from equissl.renderers.device_mesh import batch_meshes, first_of_coincident, upload_mesh
from equissl.renderers.torch_lighting import (
    disk_point,
    sky_irradiance,
    spot_irradiance,
    texture_colour,
    to_display,
)

CPU = torch.device("cpu")


def test_sky_irradiance() -> None:
    n_z = np.linspace(-1, 1, 777, dtype=np.float32)
    got = sky_irradiance(torch.from_numpy(n_z), 1.3)
    np.testing.assert_array_equal(got, lighting.sky_irradiance(n_z, 1.3))
    assert got[-1].item() == pytest.approx(1.3 + 0.05 * np.pi, rel=1e-5)


def test_spot_irradiance() -> None:
    rng = np.random.default_rng(0)
    offset = rng.normal([0, 0, 4], 0.5, (500, 3)).T.astype(np.float32)
    axis = np.float32([0, 0, -1])[:, None] * np.ones((1, 500), np.float32)
    distance2 = (offset**2).sum(0)
    got = spot_irradiance(*(torch.from_numpy(a) for a in (offset, axis, distance2)))
    expected = lighting.spot_irradiance(offset, axis, distance2)
    assert (expected > 0).any() and (expected == 0).any()
    # The cone's edge stretches a cosine's last digits over its narrow width; near its foot, where the value is almost
    # 0, they are all of it. So the error is a share of the light at full strength: the slope of a smoothstep, 1.5,
    # times the error of the stretched cosine (4 roundings of 2^-24 on each side), and 8 roundings of factors on each.
    width = scene.SPOT_BLEND * (1 - math.cos(scene.SPOT_HALF_ANGLE))
    full = scene.SPOT_INTENSITY / distance2.astype(np.float64) ** 1.5
    assert (abs(got.double().numpy() - expected) < full * 2**-24 * (1.5 * 8 / width + 16)).all()


def test_disk_points() -> None:
    rng = np.random.default_rng(1)
    angle, stretch = (6 * rng.random(40)).astype(np.float32), rng.random(40, np.float32)
    turn = (np.cos(angle), np.sin(angle))
    for number, expected in enumerate(lighting.disk_points(5, turn, stretch)):
        got = disk_point(number, 5, *(torch.from_numpy(a) for a in (*turn, stretch)))
        np.testing.assert_allclose(torch.stack(got), np.stack(expected), atol=1e-7)


@pytest.mark.parametrize("view_transform", image.VIEW_TRANSFORMS)
def test_display_values(view_transform: str) -> None:
    linear = np.concatenate([[0.0, -1.0, 1e9], np.geomspace(1e-6, 100, 5000)]).astype(np.float32).reshape(1, -1)
    got = to_display(torch.from_numpy(linear), view_transform)
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got, image.to_display(linear, view_transform))


def textured(size: tuple[int, int], seed: int) -> Mesh:
    texture = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    uv = np.zeros((1, 3, 2), np.float32)
    return Mesh(corners, faces, np.array([1], np.int32), uv, None, (Material(), Material(texture=texture)))


def test_textures_of_a_batch() -> None:
    rng = np.random.default_rng(2)
    u, v = rng.uniform(-3, 3, (2, 300)).astype(np.float32)
    meshes = [textured((5, 3), 0), textured((2, 7), 1)]
    batch = batch_meshes([upload_mesh(mesh, CPU) for mesh in meshes])
    for number, mesh in enumerate(meshes):
        textures = materials.collect_textures(mesh)
        assert textures is not None
        expected = materials.lookup(textures, np.ones(300, np.int32), u, v)
        material = batch.face_material[batch.first_face[number]].expand(300)
        got = texture_colour(batch, material, torch.from_numpy(u), torch.from_numpy(v))
        np.testing.assert_allclose(got, np.stack(expected), atol=2e-3)  # one look-up node


def test_coincident_faces_are_found() -> None:
    """Against a dictionary of sets of corners."""
    rng = np.random.default_rng(0)
    vertices = rng.integers(0, 2, (30, 3)).astype(np.float32)  # 8 places
    vertices[vertices == 0] *= rng.choice([-1, 1], (vertices == 0).sum())  # zeros of both signs are one place
    faces = rng.integers(0, 30, (200, 3)).astype(np.int32)
    seen, expected = set(), []
    for number, face in enumerate(vertices[faces] + 0.0):
        key = tuple(sorted(map(tuple, face.tolist())))
        if key not in seen:
            seen.add(key)
            expected.append(number)
    assert 20 < len(expected) < 150
    got = first_of_coincident(torch.from_numpy(vertices), torch.from_numpy(faces))
    assert got.tolist() == expected


def test_face_records_are_the_ray_casters(lopsided: Mesh, sphere) -> None:
    pytest.importorskip("open3d")
    from equissl.renderers.traced_mesh import TracedMesh

    for mesh in (lopsided, sphere(0.4, 6)):
        kept = first_of_coincident(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)).numpy()
        records, corners = upload_mesh(mesh, CPU).records, mesh.vertices[mesh.faces[kept]].astype(np.float64)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        solid = area > 1e-9  # the rest's normals are rounding errors
        np.testing.assert_allclose(records[solid, :15], TracedMesh(mesh).face_records[kept][solid, :15], atol=1e-6)
        assert not records[:, 15:].any()
