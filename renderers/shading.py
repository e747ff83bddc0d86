"""What a few views of one mesh look like: object and floor samples, shaded together.

Samples of several views lie in one array (pixel number = view · P + pixel), because small images would otherwise
spend their time in array-call overhead. Arrays of sub-samples are (K, pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equissl.renderers import scene
from equissl.renderers.bvh import SURFACE_OFFSET, Hits, TracedMesh, pack_rays
from equissl.renderers.camera import PixelGrid
from equissl.renderers.lighting import (
    Vector,
    disk_points,
    dot,
    floor_irradiance,
    perpendicular_basis,
    sky_irradiance,
    spot_irradiance,
)
from equissl.renderers.materials import lookup
from equissl.renderers.scene import ViewArrays

if TYPE_CHECKING:
    from equissl.renderers.raycast import RaycastOptions


class Views:
    """V views with lamp and camera also in object coordinates; attributes are (3, V) float32 unless noted."""

    def __init__(self, arrays: ViewArrays, grid: PixelGrid) -> None:
        self.arrays, self.grid = arrays, grid
        camera = np.broadcast_to(np.array(scene.CAMERA_POSITION, np.float32), (len(arrays), 3))
        self.rotation = np.ascontiguousarray(arrays.rotation.transpose(1, 2, 0))  # (3, 3, V)
        self.translation = np.ascontiguousarray(arrays.translation.T)
        self.camera = np.ascontiguousarray(arrays.to_object_frame(camera).T)
        self.light = np.ascontiguousarray(arrays.light_position.T)
        self.light_in_object = np.ascontiguousarray(arrays.to_object_frame(arrays.light_position).T)
        axis = arrays.light_position * np.float32(-1.0 / scene.SPOT_DISTANCE)
        self.axis = np.ascontiguousarray(axis.T)
        self.disk = [np.ascontiguousarray(b.T) for b in perpendicular_basis(axis)]
        self.axis_in_object, *self.disk_in_object = (
            np.ascontiguousarray(arrays.direction_to_object_frame(a).T) for a in (axis, self.disk[0].T, self.disk[1].T)
        )

    def gather(self, lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Pixel lists, one per view, as one array with the view of each entry."""
        view = np.repeat(np.arange(len(lists), dtype=np.int32), [len(pixels) for pixels in lists])
        return np.concatenate(lists), view


@dataclass(frozen=True, eq=False)
class ObjectSamples:
    """The object's part of the images.

    Attributes:
        covered: (K, V·P) bool, whether the sub-sample shows the object.
        coverage: (V·P,) share of the pixel's sub-samples that do.
        radiance: red, green and blue (V·P,) averaged over all sub-samples, zero where the floor is seen.
    """

    covered: np.ndarray
    coverage: np.ndarray
    radiance: list[np.ndarray]


def shade_object(mesh: TracedMesh, views: Views, options: RaycastOptions) -> ObjectSamples:
    """Find and shade the object."""
    grid = views.grid
    lists = [grid.near_sphere(t, mesh.radius) for t in views.arrays.translation]
    pixel, view = views.gather(lists)
    ray = _object_rays(views, pixel, view)
    hits = mesh.first_hits(ray)
    shown = hits.distance < grid.floor_t[:, pixel].ravel()[hits.ray]
    if not shown.all():
        hits = Hits(*(a[shown] for a in (hits.ray, hits.distance, hits.face, hits.u, hits.v)))
    column = hits.ray % pixel.size
    sample = hits.ray // pixel.size
    colours = _shade_hits(mesh, views, ray, hits, view[column], sample * grid.pixels + pixel[column], options)
    return _collect(views, sample, view[column] * grid.pixels + pixel[column], colours)


def _object_rays(views: Views, pixel: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Camera rays (K·n, 6) in each view's object frame."""
    direction = tuple(d[:, pixel] for d in views.grid.direction)
    turned = _turn_to_object(per_sample(views.rotation, view), direction)
    camera = per_sample(views.camera, view)
    origin = tuple(np.broadcast_to(c, turned[0].shape) for c in camera)
    return pack_rays(origin, turned)


def _collect(views: Views, sample: np.ndarray, pixel: np.ndarray, colours: list[np.ndarray]) -> ObjectSamples:
    """Average sub-samples over pixels."""
    grid = views.grid
    total = len(views.arrays) * grid.pixels
    covered = np.zeros((grid.samples, total), bool)
    covered[sample, pixel] = True
    share = 1.0 / grid.samples
    radiance = [np.bincount(pixel, colour, total).astype(np.float32) * share for colour in colours]
    return ObjectSamples(covered, covered.sum(0, dtype=np.float32) * share, radiance)


def _shade_hits(
    mesh: TracedMesh,
    views: Views,
    rays: np.ndarray,
    hits: Hits,
    view: np.ndarray,
    grid_sample: np.ndarray,
    options: RaycastOptions,
) -> list[np.ndarray]:
    """Outgoing radiance (red, green, blue) of each hit."""
    ray = np.ascontiguousarray(rays[hits.ray].T)
    direction = (ray[3], ray[4], ray[5])
    record = np.ascontiguousarray(mesh.face_records[hits.face].T)
    face_normal, normal = _normals(record, hits, direction)
    point = tuple(ray[i] + hits.distance * direction[i] for i in range(3))
    up = per_sample(views.rotation[2], view)
    n_z = dot(normal, (up[0], up[1], up[2]))
    sky = sky_irradiance(n_z, options.sun_strength)
    bounce = (1.0 - n_z) * (0.5 * floor_irradiance(options.sun_strength))
    spot = _spot_on_object(mesh, views, point, face_normal, normal, view, grid_sample, options)
    arrays = views.arrays
    colours = []
    for channel, albedo in enumerate(_albedo(mesh, record, hits)):
        light = sky + bounce * per_sample(arrays.floor_colour[:, channel], view)
        light += spot * per_sample(arrays.light_colour[:, channel], view)
        light *= albedo
        light *= 1.0 / math.pi
        colours.append(light)
    return colours


def _normals(record: np.ndarray, hits: Hits, direction: Vector) -> tuple[Vector, Vector]:
    """Face and interpolated normals, each turned to the viewer's side (surfaces are two-sided)."""
    face = record[TracedMesh.NORMAL]
    face = face * np.where(dot(face, direction) > 0, np.float32(-1), np.float32(1))
    corner = record[TracedMesh.CORNER_NORMALS]
    first = 1.0 - hits.u - hits.v
    smooth = np.stack([corner[i] * first + corner[3 + i] * hits.u + corner[6 + i] * hits.v for i in range(3)])
    length = np.sqrt(dot(smooth, smooth))
    sign = np.where(dot(smooth, face) < 0, np.float32(-1), np.float32(1))
    smooth = np.where(length > 1e-6, smooth * (sign / np.maximum(length, 1e-6)), face)
    return (face[0], face[1], face[2]), (smooth[0], smooth[1], smooth[2])


def _albedo(mesh: TracedMesh, record: np.ndarray, hits: Hits) -> np.ndarray:
    """Linear albedo (3, n) of each hit."""
    albedo = record[TracedMesh.ALBEDO]
    if mesh.textures is None:
        return albedo
    material = mesh.face_material[hits.face]
    textured = np.flatnonzero(mesh.textures.width[material])
    uv = record[TracedMesh.UV][:, textured]
    second, third = hits.u[textured], hits.v[textured]
    first = 1.0 - second - third
    u, v = (uv[i] * first + uv[2 + i] * second + uv[4 + i] * third for i in (0, 1))
    albedo[:, textured] = lookup(mesh.textures, material[textured], u, v)
    return albedo


def _spot_on_object(
    mesh: TracedMesh,
    views: Views,
    point: Vector,
    face_normal: Vector,
    normal: Vector,
    view: np.ndarray,
    grid_sample: np.ndarray,
    options: RaycastOptions,
) -> np.ndarray:
    """Irradiance by the spot light (white) with shadows, all in object coordinates."""
    axis = _columns(views.axis_in_object, view)
    total = np.zeros(view.size, np.float32)
    for lamp in _lamp_points(views.light_in_object, views.disk_in_object, view, views.grid, grid_sample, options):
        offset = tuple(lamp[i] - point[i] for i in range(3))
        cosine = np.maximum(dot(offset, normal), 0.0)
        light = spot_irradiance(offset, axis, dot(offset, offset)) * cosine
        light *= dot(offset, face_normal) > 0
        lit = np.flatnonzero(light)
        start = tuple(point[i][lit] + SURFACE_OFFSET * face_normal[i][lit] for i in range(3))
        light[lit] *= ~mesh.blocked(start, tuple(o[lit] for o in offset))
        total += light
    return total * (1.0 / options.spot_samples)


def shade_floor(mesh: TracedMesh, views: Views, covered: np.ndarray, options: RaycastOptions) -> np.ndarray:
    """Irradiance of the floor by the spot light (white) with shadows, (V·P,) averaged over all sub-samples."""
    grid = views.grid
    reach = scene.SPOT_HALF_ANGLE + (math.atan(scene.SPOT_RADIUS / 3.0) if options.spot_samples > 1 else 0.0)
    pixel, view = views.gather([grid.spot_patch(light, reach) for light in views.arrays.light_position])
    target = view * grid.pixels + pixel
    x, y = grid.floor_x[:, pixel], grid.floor_y[:, pixel]
    grid_sample = np.arange(grid.samples)[:, None] * grid.pixels + pixel
    axis = _columns(views.axis, view)
    seen = ~covered[:, target]
    total = np.zeros_like(x)
    for lamp in _lamp_points(views.light, views.disk, view, grid, grid_sample, options):
        offset = (lamp[0] - x, lamp[1] - y, lamp[2] - scene.FLOOR_Z)
        distance2 = dot(offset, offset)
        light = spot_irradiance(offset, axis, distance2) * offset[2]
        light *= seen
        _shadow_on_floor(mesh, views, x, y, offset, distance2, view, light)
        total += light
    irradiance = np.zeros(covered.shape[1], np.float32)
    irradiance[target] = total.sum(0) * (1.0 / (options.spot_samples * grid.samples))
    return irradiance


def _shadow_on_floor(
    mesh: TracedMesh,
    views: Views,
    x: np.ndarray,
    y: np.ndarray,
    offset: Vector,
    distance2: np.ndarray,
    view: np.ndarray,
    light: np.ndarray,
) -> None:
    """Set ``light`` to zero where the mesh hides the lamp. Rays that pass the bounding sphere are not cast."""
    centre = per_sample(views.translation, view)
    to_centre = (centre[0] - x, centre[1] - y, centre[2] - scene.FLOOR_Z)
    along = dot(to_centre, offset)
    near = (dot(to_centre, to_centre) - mesh.radius**2) * distance2 <= along * along
    near &= light > 0
    sample, column = np.nonzero(near)
    start, towards = (
        tuple(np.broadcast_to(a, light.shape)[sample, column] for a in vector) for vector in (to_centre, offset)
    )
    rotation = per_sample(views.rotation, view[column])
    start_in_object = _turn_to_object(rotation, (-start[0], -start[1], -start[2]))
    towards_in_object = _turn_to_object(rotation, towards)
    light[sample, column] *= ~mesh.blocked(start_in_object, towards_in_object)


def per_sample(values: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Values (…, V) of each sample's view, (…, n); with one view (…, 1), which broadcasts to the same."""
    return values if values.shape[-1] == 1 else values[..., view]


def _columns(vectors: np.ndarray, view: np.ndarray) -> Vector:
    gathered = per_sample(vectors, view)
    return gathered[0], gathered[1], gathered[2]


def _turn_to_object(rotation: np.ndarray, vector: Vector) -> Vector:
    """Rᵀ times a world vector; ``rotation`` (3, 3, n)."""
    x, y, z = (dot((rotation[0, i], rotation[1, i], rotation[2, i]), vector) for i in range(3))
    return x, y, z


def _lamp_points(
    centre: np.ndarray,
    disk: list[np.ndarray],
    view: np.ndarray,
    grid: PixelGrid,
    grid_sample: np.ndarray,
    options: RaycastOptions,
) -> list[Vector]:
    """Points of the lamp as seen by each sample: its centre, or several of its disk."""
    middle = _columns(centre, view)
    if options.spot_samples == 1:
        return [middle]
    first, second = (_columns(b, view) for b in disk)
    turn = (grid.turn[0].ravel()[grid_sample], grid.turn[1].ravel()[grid_sample])
    points = disk_points(options.spot_samples, turn, grid.stretch.ravel()[grid_sample])
    return [tuple(middle[i] + a * first[i] + b * second[i] for i in range(3)) for a, b in points]
