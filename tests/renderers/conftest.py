"""Small meshes whose pictures follow from geometry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from equissl.datasets.meshes.mesh import Material, Mesh

GREY = Material(diffuse=np.full(3, 0.5, np.float32))


@pytest.fixture(scope="session")
def make_mesh() -> Callable[..., Mesh]:
    def make(vertices, faces, material: Material = GREY, uv=None, normals=None) -> Mesh:
        faces = np.asarray(faces, np.int32)
        return Mesh(
            np.asarray(vertices, np.float32),
            faces,
            np.zeros(len(faces), np.int32),
            None if uv is None else np.asarray(uv, np.float32)[faces],
            None if normals is None else np.asarray(normals, np.float32)[faces],
            (material,),
            name="test",
        )

    return make


@pytest.fixture(scope="session")
def sphere(make_mesh) -> Callable[..., Mesh]:
    def make(radius: float, rings: int = 48) -> Mesh:
        theta = np.linspace(0, np.pi, rings + 1)[:, None]
        phi = np.linspace(0, 2 * np.pi, 2 * rings + 1)
        unit = np.stack(
            np.broadcast_arrays(np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), -1
        ).reshape(-1, 3)
        grid = np.arange((rings + 1) * (2 * rings + 1)).reshape(rings + 1, -1)
        a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]))
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        return make_mesh(radius * unit, faces, normals=unit)

    return make


@pytest.fixture(scope="session")
def quad(make_mesh) -> Callable[..., Mesh]:
    """A rectangle with texture coordinate (0, 0) at ``-right - up`` and (1, 1) at ``right + up``."""

    def make(right, up, material: Material = GREY, normals=None) -> Mesh:
        right, up = np.asarray(right, float), np.asarray(up, float)
        corners = [-right - up, right - up, right + up, -right + up]
        return make_mesh(
            corners, [[0, 1, 2], [0, 2, 3]], material, uv=[[0, 0], [1, 0], [1, 1], [0, 1]], normals=normals
        )

    return make


@pytest.fixture(scope="session")
def lopsided(make_mesh) -> Mesh:
    """A body without symmetry: three boxes in different directions."""
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))])
    sizes = ((0.6, 0.15, 0.1), (0.12, 0.4, 0.1), (0.1, 0.12, 0.3))
    vertices = np.concatenate([box * size - np.array([0.3, 0.2, 0.1]) for size in sizes])
    return make_mesh(vertices, np.concatenate([triangles + 8 * i for i in range(3)]))
