"""Triangle solids that the simulated street is put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Solid(NamedTuple):
    """A triangle mesh with a reflectivity per face.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (F, 3) int32.
        albedo: (F,) float32 diffuse reflectivity in [0, 1] at the laser's wavelength.
    """

    vertices: np.ndarray
    faces: np.ndarray
    albedo: np.ndarray

    def moved(self, transform: np.ndarray) -> Solid:
        """Move the solid by a rigid transform (4, 4)."""
        return self._replace(vertices=self.vertices @ transform[:3, :3].T + transform[:3, 3])

    def shifted(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        return self._replace(vertices=self.vertices + np.array([x, y, z]))


def join(solids: Iterable[Solid]) -> Solid:
    """Join several solids to one; none give an empty one."""
    solids = list(solids)
    if not solids:
        return Solid(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros(0, np.float32))
    starts = np.cumsum([0, *(len(s.vertices) for s in solids[:-1])])
    return Solid(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.faces + start for s, start in zip(solids, starts, strict=True)]).astype(np.int32),
        np.concatenate([s.albedo for s in solids]),
    )


def extrusion(outline: Sequence[tuple[float, float]], width: float, albedo: float) -> Solid:
    """Extrude a convex outline in the x-z plane along y, about y = 0.

    Args:
        outline: corners (x, z), in order.
        width: metres.
        albedo: albedo of all faces.
    """
    flat, count = np.asarray(outline, dtype=np.float64), len(outline)
    sides = [np.column_stack([flat[:, 0], np.full(count, y), flat[:, 1]]) for y in (-width / 2, width / 2)]
    ring = np.arange(count)
    after = (ring + 1) % count
    fan = np.column_stack([np.zeros(count - 2, int), ring[1:-1], ring[2:]])
    walls = [np.column_stack([ring, after, ring + count]), np.column_stack([after, after + count, ring + count])]
    faces = np.concatenate([fan, fan + count, *walls]).astype(np.int32)
    return Solid(np.concatenate(sides), faces, np.full(len(faces), albedo, np.float32))


def block(size: tuple[float, float, float], centre: tuple[float, float, float], albedo: float) -> Solid:
    """Make an upright cuboid.

    Args:
        size: along x, y, z.
        centre: centre of the cuboid.
        albedo: albedo of all faces.
    """
    x, _, z = (0.5 * s for s in size)
    return extrusion([(-x, -z), (x, -z), (x, z), (-x, z)], size[1], albedo).shifted(*centre)


def disc(radius: float, width: float, albedo: float, sides: int = 10) -> Solid:
    """Make a wheel: a cylinder about the y axis.

    Args:
        radius: metres.
        width: metres.
        albedo: albedo of all faces.
        sides: corners of the circle.
    """
    angles = np.arange(sides) * (2 * np.pi / sides)
    return extrusion(list(zip(radius * np.cos(angles), radius * np.sin(angles), strict=True)), width, albedo)


def post(radius: float, height: float, albedo: float, top: float | None = None, sides: int = 8) -> Solid:
    """Make an upright cylinder or cone frustum that stands on z = 0; open at the bottom.

    Args:
        radius: at the bottom, metres.
        height: metres.
        albedo: albedo of all faces.
        top: radius at the top; None is the same.
        sides: corners of the circle.
    """
    angles = np.arange(sides) * (2 * np.pi / sides)
    ring = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(sides)])
    upper = ring * (radius if top is None else top) + [0, 0, height]
    index = np.arange(sides)
    after = (index + 1) % sides
    walls = [np.column_stack([index, after, index + sides]), np.column_stack([after, after + sides, index + sides])]
    lid = np.column_stack([index[1:-1] * 0 + sides, index[1:-1] + sides, index[2:] + sides])
    faces = np.concatenate([*walls, lid]).astype(np.int32)
    return Solid(np.concatenate([ring * radius, upper]), faces, np.full(len(faces), albedo, np.float32))


def ellipsoid(
    radii: tuple[float, float, float], centre: tuple[float, float, float], albedo: float, sides: int = 8
) -> Solid:
    """Make an ellipsoid of ``sides`` meridians and half as many parallels.

    Args:
        radii: along x, y, z.
        centre: centre of the ellipsoid.
        albedo: albedo of all faces.
        sides: meridians.
    """
    rings = max(3, sides // 2)
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.arange(sides) * (2 * np.pi / sides), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    faces = lattice_faces(rings + 1, sides, closed=True)
    return Solid(unit.reshape(-1, 3) * radii + centre, faces, np.full(len(faces), albedo, np.float32))


def foliage(rng: np.random.Generator, count: int, radii: tuple[float, float, float], albedo: float) -> Solid:
    """Make loose small triangles in an ellipsoid about the origin: some rays pass, others hit at any depth.

    Args:
        rng: generator of the draws.
        count: triangles.
        radii: along x, y, z.
        albedo: albedo of all faces.
    """
    unit = rng.normal(size=(count, 3))
    unit *= (rng.uniform(0.15, 1.0, (count, 1)) ** (1 / 3)) / np.linalg.norm(unit, axis=1, keepdims=True)
    corners = (unit * radii)[:, None] + rng.normal(size=(count, 3, 3)) * rng.uniform(0.1, 0.25, (count, 1, 1))
    faces = np.arange(3 * count, dtype=np.int32).reshape(count, 3)
    return Solid(corners.reshape(-1, 3), faces, np.full(count, albedo, np.float32))


def lattice_faces(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """List the triangles (F, 3) between the points of a lattice.

    Args:
        rows: rows of points.
        columns: columns of points.
        closed: the last column is joined to the first.
    """
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3).astype(np.int32)
