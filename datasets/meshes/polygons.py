"""Triangulation of polygons that need not be convex."""

from __future__ import annotations

import numpy as np


def triangulate(vertices: np.ndarray, groups: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons into triangles.

    Convex polygons become a fan from their first corner, others are cut ear by ear.

    Args:
        vertices: (N, 3).
        groups: Per corner count n: corners (P, n, K), whose last axis starts with the vertex index, and order (P,).

    Returns:
        Corners (M, 3, K) and the order number of the polygon each triangle came from (M,), sorted by it.
    """
    corners, lines = [], []
    for polygon, order in groups:
        n = polygon.shape[1]
        fan = np.stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)], axis=1)
        cuts = np.broadcast_to(fan, (len(polygon), n - 2, 3)).copy()
        if n > 3:
            points = vertices[polygon[..., 0]]
            for i in np.flatnonzero(_concave(points)):
                cuts[i] = cut_ears(points[i])
        triangles = np.take_along_axis(polygon[:, None], cuts[..., None], axis=2)
        corners.append(triangles.reshape(-1, 3, polygon.shape[2]))
        lines.append(np.repeat(order, n - 2))
    line = np.concatenate(lines)
    order = np.argsort(line, kind="stable")
    return np.concatenate(corners)[order], line[order]


def cut_polygon(points: np.ndarray) -> np.ndarray:
    """Cut one polygon (n, 3) into (n - 2, 3) corner numbers: a fan where it is convex, else ears."""
    if _concave(points[None])[0]:
        return cut_ears(points)
    n = len(points)
    return np.stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)], axis=1)


def _plane_normals(points: np.ndarray) -> np.ndarray:
    """Newell's normal of each polygon (P, n, 3) -> (P, 3); its length is twice the area."""
    local = points - points[:, :1]
    return np.cross(local, np.roll(local, -1, axis=1)).sum(axis=1)


def _concave(points: np.ndarray) -> np.ndarray:
    """True for polygons (P, n, 3) that turn against their own orientation at some corner, (P,)."""
    edges = np.roll(points, -1, axis=1) - points
    turn = np.cross(np.roll(edges, 1, axis=1), edges)
    normals = _plane_normals(points)
    along = (turn * normals[:, None]).sum(-1)
    return (along < -1e-9 * np.square(normals).sum(-1)[:, None]).any(axis=1)


def cut_ears(points: np.ndarray) -> np.ndarray:
    """Ear clipping of one polygon (n, 3) -> (n - 2, 3) corner numbers; degenerate rests are closed by a fan."""
    normal = _plane_normals(points[None])[0]
    axis = int(np.abs(normal).argmax())
    flat = np.delete(points, axis, axis=1)
    # dropping the middle axis mirrors the plane
    sign = np.sign(normal[axis]) * (-1 if axis == 1 else 1)
    left, triangles = list(range(len(points))), []
    while len(left) > 3:
        ear = next((i for i in range(len(left)) if _is_ear(flat, left, i, sign)), None)
        if ear is None:
            break
        triangles.append((left[ear - 1], left[ear], left[(ear + 1) % len(left)]))
        left.pop(ear)
    triangles += [(left[0], left[i], left[i + 1]) for i in range(1, len(left) - 1)]
    return np.asarray(triangles)


def _is_ear(flat: np.ndarray, left: list[int], i: int, sign: float) -> bool:
    a, b, c = flat[left[i - 1]], flat[left[i]], flat[left[(i + 1) % len(left)]]
    if sign * _area(a, b, c) <= 0:
        return False
    skip = {left[i - 1], left[i], left[(i + 1) % len(left)]}
    rest = flat[[j for j in left if j not in skip]]
    inside = (sign * _area(a, b, rest) >= 0) & (sign * _area(b, c, rest) >= 0) & (sign * _area(c, a, rest) >= 0)
    # corners visited twice (bridges to holes) lie on the triangle's own corners and do not block it
    own = (rest[:, None] == np.stack([a, b, c])).all(-1).any(-1) if len(rest) else np.zeros(0, bool)
    return not bool((inside & ~own).any())


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
