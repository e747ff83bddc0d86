"""Points of the object that camera rays see, with what shading needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equissl.renderers.face_attributes import FaceAttributes
from equissl.renderers.lighting import Vector, dot
from equissl.renderers.materials import lookup
from equissl.renderers.traced_mesh import Hits, TracedMesh, pack_rays
from equissl.renderers.views import Views, columns, per_sample, turn_to_object


@dataclass(frozen=True, eq=False)
class Surface:
    """n visible points, in the object frame of their view. Vectors are (3, n) float32.

    Attributes:
        point, face_normal, normal: normals are turned to the viewer's side.
        direction: direction of the camera ray, unit.
        hits: where they lie on the mesh.
        view: (n,) number of the view.
        pixel: (n,) view · P + pixel.
        sample: (n,) number of the sub-sample.
        layer: (n,) how many transparent faces lie before it.
        share: (n,) of the sub-sample's light that comes from here; below 1 on and behind transparent faces.
    """

    point: np.ndarray
    face_normal: np.ndarray
    normal: np.ndarray
    direction: np.ndarray
    hits: Hits
    view: np.ndarray
    pixel: np.ndarray
    sample: np.ndarray
    layer: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.view)

    def take(self, index: np.ndarray) -> Surface:
        """Return some of the points."""
        point, face_normal, normal, direction = (
            v[:, index] for v in (self.point, self.face_normal, self.normal, self.direction)
        )
        view, pixel, sample, layer, share = (
            a[index] for a in (self.view, self.pixel, self.sample, self.layer, self.share)
        )
        hits = self.hits.take(index)
        return Surface(point, face_normal, normal, direction, hits, view, pixel, sample, layer, share)


def visible_surface(mesh: TracedMesh, views: Views) -> Surface:
    """Trace the object's visible surface, transparent layers from front to back. The floor hides what is below it.

    Args:
        mesh: mesh that the views show.
        views: V.
    """
    grid = views.grid
    pixel, view = _pixels_near(mesh, views)
    rays = _camera_rays(views, pixel, view)
    floor_t = grid.floor_t[:, pixel].ravel()
    found = list(mesh.layers(rays))
    hits = found[0][0] if len(found) == 1 else Hits.join([hits for hits, _ in found])
    share = np.concatenate([share for _, share in found])
    layer = np.repeat(np.arange(len(found)), [len(share) for _, share in found])
    shown = hits.distance < floor_t[hits.ray]
    if not shown.all():
        hits, share, layer = hits.take(shown), share[shown], layer[shown]
    column, sample = hits.ray % pixel.size, hits.ray // pixel.size
    ray = np.ascontiguousarray(rays[hits.ray].T)
    face_normal, normal = normals(mesh, hits, ray[3:])
    point = ray[:3] + hits.distance * ray[3:]
    view = view[column]
    place = view * grid.pixels + pixel[column]
    return Surface(point, face_normal, normal, ray[3:], hits, view, place, sample, layer, share)


def _pixels_near(mesh: TracedMesh, views: Views) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and their views, whose rays may meet the object's bounding box."""
    grid = views.grid
    pixel, view = views.gather([grid.near_sphere(t, mesh.radius) for t in views.arrays.translation])
    middle = grid.samples // 2
    direction = turn_to_object(per_sample(views.rotation, view), tuple(d[middle, pixel] for d in grid.direction))
    origin = columns(views.camera, view)
    # All samples of a pixel lie within this of the one tested, as far away as the object's rear.
    distance = np.sqrt(dot(origin, origin)) + mesh.radius
    margin = distance * np.float32(2 * grid.pixel_width)
    enter, leave = np.float32(0), np.float32(np.inf)
    for axis in range(3):
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = 1.0 / np.where(direction[axis] == 0, np.float32(1e-20), direction[axis])
        low, high = mesh.bounds[:, axis, None] + margin * np.array([[-1], [1]], np.float32)
        one, other = (low - origin[axis]) * slope, (high - origin[axis]) * slope
        enter, leave = np.maximum(enter, np.minimum(one, other)), np.minimum(leave, np.maximum(one, other))
    near = np.flatnonzero(enter <= leave)
    return pixel[near], view[near]


def _camera_rays(views: Views, pixel: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Camera rays (K·n, 6) in each view's object frame."""
    direction = tuple(d[:, pixel] for d in views.grid.direction)
    turned = turn_to_object(per_sample(views.rotation, view), direction)
    origin = tuple(np.broadcast_to(c, turned[0].shape) for c in columns(views.camera, view))
    return pack_rays(origin, turned)


def normals(mesh: FaceAttributes, hits: Hits, direction: Vector) -> tuple[np.ndarray, np.ndarray]:
    """Compute face and interpolated normals (3, n), each turned to the viewer's side (surfaces are two-sided).

    Args:
        mesh: that was hit.
        hits: n.
        direction: direction of the rays.
    """
    record = np.ascontiguousarray(mesh.face_records[:, : FaceAttributes.ALBEDO.start][hits.face].T)
    face = record[FaceAttributes.NORMAL]
    face = face * np.where(dot(face, direction) > 0, np.float32(-1), np.float32(1))
    corner = record[FaceAttributes.CORNER_NORMALS]
    first = 1.0 - hits.u - hits.v
    smooth = np.stack([corner[i] * first + corner[3 + i] * hits.u + corner[6 + i] * hits.v for i in range(3)])
    length = np.sqrt(dot(smooth, smooth))
    sign = np.where(dot(smooth, face) < 0, np.float32(-1), np.float32(1))
    return face, np.where(length > 1e-6, smooth * (sign / np.maximum(length, 1e-6)), face)


def albedo(mesh: FaceAttributes, hits: Hits) -> np.ndarray:
    """Compute the linear albedo (3, n) of each hit.

    Args:
        mesh: that was hit.
        hits: n.
    """
    record = np.ascontiguousarray(mesh.face_records[:, FaceAttributes.ALBEDO.start :][hits.face].T)
    colour, uv, corners = record[:3], record[3:9], record[9:]
    if mesh.textures is not None:
        material = mesh.face_material[hits.face]
        textured = np.flatnonzero(mesh.textures.width[material])
        second, third = hits.u[textured], hits.v[textured]
        u, v = _interpolate(uv[:, textured], second, third)
        colour[:, textured] = lookup(mesh.textures, material[textured], u, v)
    return colour * _interpolate(corners, hits.u, hits.v) if mesh.coloured else colour


def _interpolate(corners: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Values (C, n) between those of three corners, one after the other (3·C, n), by two weights (n,)."""
    a, b, c = np.split(corners, 3)
    return a * (1.0 - second - third) + b * second + c * third
