"""Triangles of polygons against the polygons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from equissl.datasets.meshes.mesh import Mesh


def area(points: np.ndarray) -> np.ndarray:
    """Vector of a polygon's area, (3,)."""
    return np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0) / 2


def check_polygons(mesh: Mesh, polygons: list[np.ndarray]) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Check that triangles come polygon by polygon, each of n corners has n - 2, of its area and direction.

    Yields the number of each polygon, the slice of its triangles, and their corners' places in the polygon (n - 2, 3).
    """
    assert len(mesh.faces) == sum(len(run) - 2 for run in polygons)
    start = 0
    for number, run in enumerate(polygons):
        chosen = slice(start, start := start + len(run) - 2)
        at = (mesh.faces[chosen][..., None] == run).argmax(axis=-1)
        assert np.array_equal(run[at], mesh.faces[chosen])
        triangles = mesh.vertices[mesh.faces[chosen]] - mesh.vertices[run[0]]
        parts = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
        expected = area(mesh.vertices[run] - mesh.vertices[run[0]])
        size = np.linalg.norm(expected)
        assert np.linalg.norm(parts, axis=1).sum() == pytest.approx(size, rel=1e-5)  # nothing twice or outside
        np.testing.assert_allclose(parts.sum(axis=0), expected, atol=1e-5 * size)
        yield number, chosen, at
