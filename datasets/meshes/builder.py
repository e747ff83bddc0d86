"""A small solid modeller: parts made of lofted rings, joined into one mesh. Ground at z = 0, front along +y, metres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.meshes.normalise import normalise_mesh
from equissl.datasets.meshes.palette import Palette
from equissl.datasets.meshes.polygons import cut_polygon

T = TypeVar("T")
Point = Sequence[float]
_AXES = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}


class Builder:
    """Collector of parts. Materials are integers from :meth:`material`; draws come from the object's own stream."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.palette = Palette(rng)
        self.material = self.palette.add
        self._vertices: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        self._materials: list[np.ndarray] = []
        self._count = 0
        self._turn, self._shift = np.eye(3), np.zeros(3)

    # random draws -----------------------------------------------------------------------------------------------------
    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included.

        Args:
            low: smallest.
            high: largest.
        """
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    # placement --------------------------------------------------------------------------------------------------------
    @contextmanager
    def placed(self, at: Point = (0, 0, 0), yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Iterator[None]:
        """Turn what is added inside by ``roll`` about y, ``pitch`` about x, ``yaw`` about z, then shift it.

        Args:
            at: shift.
            yaw: radians about z.
            pitch: radians about x.
            roll: radians about y.
        """
        turn, shift = self._turn, self._shift
        local = _turn_z(yaw) @ _turn_x(pitch) @ _turn_y(roll)
        self._turn, self._shift = turn @ local, turn @ np.asarray(at, float) + shift
        try:
            yield
        finally:
            self._turn, self._shift = turn, shift

    def add(self, vertices: np.ndarray, faces: np.ndarray, material: int) -> None:
        """Add a part; its vertices are shared with no other.

        Args:
            vertices: (N, 3).
            faces: (M, 3).
            material: index.
        """
        self._vertices.append(np.asarray(vertices, float) @ self._turn.T + self._shift)
        self._faces.append(np.asarray(faces) + self._count)
        self._materials.append(np.full(len(faces), material))
        self._count += len(vertices)

    # shapes -----------------------------------------------------------------------------------------------------------
    def loft(self, rings: np.ndarray, material: int, caps: bool = True, closed: bool = True) -> None:
        """Add a skin over rings of equal corner counts.

        Args:
            rings: (K, N, 3).
            material: index.
            caps: close both ends.
            closed: join each ring's end to its beginning.
        """
        k, n, _ = rings.shape
        around = np.arange(n if closed else n - 1)
        a = (np.arange(k - 1)[:, None] * n + around).ravel()
        b = (np.arange(k - 1)[:, None] * n + (around + 1) % n).ravel()
        faces = [np.stack([a, b, b + n], 1), np.stack([a, b + n, a + n], 1)]
        if caps and closed:
            for ring, start in ((rings[0], 0), (rings[-1], (k - 1) * n)):
                if np.ptp(ring, axis=0).max() > 1e-9:
                    faces.append((cut_polygon(ring)[:, :: -1 if start == 0 else 1]) + start)
        self.add(rings.reshape(-1, 3), np.concatenate(faces), material)

    def prism(self, outline: Sequence[Point], low: float, high: float, axis: str, material: int) -> None:
        """Extrude an outline from ``low`` to ``high``: in (y, z) along x, (x, z) along y, (x, y) along z.

        Args:
            outline: corners in the plane.
            low: start along the axis.
            high: end along the axis.
            axis: ``x``, ``y`` or ``z``.
            material: index.
        """
        flat = np.asarray(outline, float)
        if axis == "y":
            flat = flat[:, ::-1]
        first, second, along = _AXES[axis]
        rings = np.zeros((2, len(flat), 3))
        rings[..., first], rings[..., second] = flat[:, 0], flat[:, 1]
        rings[0, :, along], rings[1, :, along] = low, high
        self.loft(rings, material)

    def box(self, centre: Point, size: Point, material: int) -> None:
        """Add an axis-aligned box.

        Args:
            centre: centre of the box.
            size: full sizes.
            material: index.
        """
        (x, y, z), (dx, dy, dz) = centre, (s / 2 for s in size)
        outline = [(x - dx, y - dy), (x + dx, y - dy), (x + dx, y + dy), (x - dx, y + dy)]
        self.prism(outline, z - dz, z + dz, "z", material)

    def span(self, low: Point, high: Point, material: int) -> None:
        """Add an axis-aligned box between two corners.

        Args:
            low: lowest corner.
            high: highest corner.
            material: index.
        """
        self.box(
            [(a + b) / 2 for a, b in zip(low, high, strict=True)], np.abs(np.subtract(high, low)).tolist(), material
        )

    def cylinder(
        self, start: Point, end: Point, radius: float, material: int, end_radius: float | None = None, sides: int = 12
    ) -> None:
        """Add a cylinder, or a cone where the end's radius differs.

        Args:
            start: centre of one end.
            end: centre of the other.
            radius: at the start.
            material: index.
            end_radius: at the end; None is the same.
            sides: corners of the circle.
        """
        self.tube([start, end], [radius, radius if end_radius is None else end_radius], material, sides)

    def tube(self, path: Sequence[Point], radius: float | Sequence[float], material: int, sides: int = 8) -> None:
        """Add a round tube along a path of at least two points.

        Args:
            path: points.
            radius: radius of the tube, one or one for each point.
            material: index.
            sides: corners of the circle.
        """
        points = np.asarray(path, float)
        tangents = np.gradient(points, axis=0)
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        helper = np.eye(3)[np.abs(tangents).max(axis=0).argmin()]
        side = np.cross(tangents, helper)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        other = np.cross(tangents, side)
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
        ring = np.cos(angle) * side[:, None] + np.sin(angle) * other[:, None]
        self.loft(points[:, None] + ring * np.resize(radius, len(points))[:, None, None], material)

    def lathe(
        self, profile: Sequence[Point], material: int, at: Point = (0, 0, 0), sides: int = 20, arc: Point | None = None
    ) -> None:
        """Turn a profile about a vertical axis.

        Args:
            profile: points (radius, z).
            material: index.
            at: foot of the axis.
            sides: corners of the circle.
            arc: angles from +x, anticlockwise; None is the whole turn.
        """
        low, high = arc or (0.0, 2 * np.pi)
        angle = np.linspace(low, high, sides + (arc is not None), endpoint=arc is not None)
        flat = np.asarray(profile, float)
        radius, height = flat[:, :1], np.broadcast_to(flat[:, 1:], (len(flat), len(angle)))
        rings = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1) + np.asarray(at, float)
        self.loft(rings, material, closed=arc is None)

    def blob(self, centre: Point, radii: Point, material: int, power: float = 1.0, sides: int = 14) -> None:
        """Add a superellipsoid: an ellipsoid at power 1, a cushion around 0.4, nearly a box at 0.15.

        Args:
            centre: centre of the body.
            radii: along x, y, z.
            material: index.
            power: exponent.
            sides: corners of the circle.
        """
        up, around = (
            np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 1),
            np.linspace(0, 2 * np.pi, sides, endpoint=False),
        )
        flat, height = _power(np.cos(up), power)[:, None], _power(np.sin(up), power)[:, None]
        x, y = flat * _power(np.cos(around), power), flat * _power(np.sin(around), power)
        rings = np.stack([x, y, np.broadcast_to(height, x.shape)], -1) * np.asarray(radii, float) + np.asarray(
            centre, float
        )
        self.loft(rings, material, caps=False)

    def cushion(self, low: Point, high: Point, material: int, power: float = 0.3) -> None:
        """Add a box with soft edges between two corners.

        Args:
            low: lowest corner.
            high: highest corner.
            material: index.
            power: see `blob`.
        """
        corners = np.asarray([low, high], float)
        self.blob(corners.mean(axis=0).tolist(), (np.ptp(corners, axis=0) / 2).tolist(), material, power, sides=12)

    def leaf(self, base: Point, direction: Point, length: float, width: float, droop: float, material: int) -> None:
        """Add a narrow blade of two bent segments that ends in a point.

        Args:
            base: foot of the blade.
            direction: in which it grows.
            length: length of the blade.
            width: width of the blade.
            droop: of the tip.
            material: index.
        """
        start, ahead = np.asarray(base, float), np.asarray(direction, float) / np.linalg.norm(direction)
        side = np.cross(ahead, [0, 0, 1.0])
        side = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-6 else np.array([1.0, 0, 0])
        middle = start + ahead * length * 0.55
        tip = start + ahead * length - np.array([0, 0, droop * length])
        half = side * width / 2
        vertices = np.stack([start - half * 0.3, start + half * 0.3, middle - half, middle + half, tip])
        self.add(vertices, np.array([[0, 1, 3], [0, 3, 2], [2, 3, 4]]), material)

    # result -----------------------------------------------------------------------------------------------------------
    def mesh(self, name: str) -> Mesh:
        """Build the mesh of everything added so far, normalised, with smooth normals over blunt edges."""
        vertices, faces = np.concatenate(self._vertices), np.concatenate(self._faces)
        # a ring of radius zero closes a lathe and leaves triangles without area
        solid = np.linalg.norm(_weighted_normals(vertices, faces), axis=1) > 1e-12
        faces, face_material = faces[solid], np.concatenate(self._materials)[solid]
        return normalise_mesh(
            Mesh(
                vertices=vertices.astype(np.float32),
                faces=faces.astype(np.int32),
                face_material=face_material.astype(np.int32),
                corner_uv=project_uv(vertices, faces),
                corner_normals=smooth_normals(vertices, faces),
                materials=tuple(self.palette.materials),
                name=name,
            )
        )


def _turn_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _turn_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _turn_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _power(values: np.ndarray, power: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** power


def _weighted_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def project_uv(vertices: np.ndarray, faces: np.ndarray, repeats_per_metre: float = 2.0) -> np.ndarray:
    """Project texture coordinates (M, 3, 2) of each face along the axis that it faces most.

    Args:
        vertices: (N, 3).
        faces: (M, 3).
        repeats_per_metre: repeats of the texture in a metre.
    """
    axis = np.abs(_weighted_normals(vertices, faces)).argmax(axis=1)
    across = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    corners = vertices[faces]
    return (np.take_along_axis(corners, across[:, None, :], axis=2) * repeats_per_metre).astype(np.float32)


def smooth_normals(vertices: np.ndarray, faces: np.ndarray, crease_degrees: float = 40.0) -> np.ndarray:
    """Compute corner normals (M, 3, 3): area-weighted mean over the faces at the vertex within the crease angle.

    Args:
        vertices: (N, 3).
        faces: (M, 3).
        crease_degrees: largest angle between smoothed faces.
    """
    weighted = _weighted_normals(vertices, faces)
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-20)
    order = np.argsort(faces.ravel(), kind="stable")
    counts = np.bincount(faces.ravel())
    counts = counts[counts > 0]
    # all pairs of corners that share a vertex, group by group
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    sizes = np.repeat(counts, counts)
    left = np.repeat(np.arange(len(order)), sizes)
    step = np.arange(len(left)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    right = np.repeat(starts, sizes) + step
    mine, other = order[left] // 3, order[right] // 3
    near = (unit[mine] * unit[other]).sum(-1) > np.cos(np.radians(crease_degrees))
    total = np.zeros((faces.size, 3))
    np.add.at(total, order[left[near]], weighted[other[near]])
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)
    return total.reshape(-1, 3, 3).astype(np.float32)
