"""Triangulation of polygons that need not be convex."""

from __future__ import annotations

import mapbox_earcut
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
        concave = np.zeros(len(polygon), bool)
        if polygon.shape[1] > 3:
            points = vertices[polygon[..., 0]]
            concave = _concave(points)
            for i in np.flatnonzero(concave):
                cuts = cut_ears(points[i])
                corners.append(polygon[i][cuts])
                lines.append(np.repeat(order[i], len(cuts)))
        fan = _fan(polygon.shape[1])
        corners.append(polygon[~concave][:, fan].reshape(-1, 3, polygon.shape[2]))
        lines.append(np.repeat(order[~concave], len(fan)))
    line = np.concatenate(lines)
    order = np.argsort(line, kind="stable")
    return np.concatenate(corners)[order], line[order]


def triangulate_ragged(vertices: np.ndarray, sizes: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cut polygons that lie one behind the other into triangles; those of fewer than three corners give none.

    Args:
        vertices: (N, 3).
        sizes: (P,) corners of each polygon.
        index: (sum of sizes,) their vertices.

    Returns:
        Vertices (M, 3), places in ``index`` (M, 3), and the number of the polygon (M,), sorted by it.

    Raises:
        ValueError: for a vertex that does not exist.
    """
    if len(index) and (index.min() < 0 or index.max() >= len(vertices)):
        raise ValueError(f"face indices {index.min()}..{index.max()} of {len(vertices)} vertices")
    starts = np.cumsum(sizes) - sizes
    groups = []
    for n in np.unique(sizes[sizes > 2]):
        chosen = np.flatnonzero(sizes == n)
        place = starts[chosen, None] + np.arange(n)
        groups.append((np.stack([index[place], place], axis=-1), chosen))
    if not groups:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    corners, polygon = triangulate(vertices, groups)
    return corners[..., 0], corners[..., 1], polygon


def cut_polygon(points: np.ndarray) -> np.ndarray:
    """Cut one polygon (n, 3) into (n - 2, 3) corner numbers: a fan where it is convex, else ears."""
    return cut_ears(points) if _concave(points[None])[0] else _fan(len(points))


def _fan(n: int) -> np.ndarray:
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
    """Clip the ears of one polygon on its plane, (n, 3) -> (n - 2, 3) corner numbers.

    Corners visited twice, the bridges to holes, are allowed. A polygon without area, or one that crosses itself so that
    nothing can be clipped, becomes a fan; where edges cross or overlap there may be fewer triangles.
    """
    normal = _plane_normals(points[None])[0]
    axis = int(np.abs(normal).argmax())
    flat = np.delete(points - points[0], axis, axis=1)
    cuts = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), np.array([len(flat)], np.uint32))
    if not len(cuts):
        return _fan(len(points))
    # dropping the middle axis mirrors the plane; the library turns all triangles one way
    mirrored = (normal[axis] > 0) != (axis == 1)
    triangles = [tuple(t) for t in cuts.reshape(-1, 3)[:, :: 1 if mirrored else -1].tolist()]
    return np.asarray(_with_all_corners(triangles, len(points)))


def _with_all_corners(triangles: list[tuple[int, int, int]], n: int) -> list[tuple[int, int, int]]:
    """Split triangles at the corners that lie on their edges, which the library leaves out."""
    used = {corner for triangle in triangles for corner in triangle}
    for corner in sorted(set(range(n)) - used):
        before, after = (next(i % n for i in range(corner + s, corner + s * n, s) if i % n in used) for s in (-1, 1))
        for number, triangle in enumerate(triangles):
            turns = [triangle[i:] + triangle[:i] for i in range(3)]
            if (turn := next((t for t in turns if t[:2] == (before, after)), None)) is not None:
                triangles[number : number + 1] = [(before, corner, turn[2]), (corner, after, turn[2])]
                used.add(corner)
                break
    return triangles
