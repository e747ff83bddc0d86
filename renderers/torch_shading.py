"""Shading of views of many meshes together, on a torch device.

The physics is the ray caster's: sun and sky in closed form, the spot light with cast shadows, and on the object the
light that the floor reflects. A tracer finds what the camera sees and what hides the spot light. Lists of samples are
(n,), their vectors (3, n); whole images are (V, S) with S = K·P sub-samples of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from equissl.renderers import scene
from equissl.renderers.device_mesh import ALBEDO, COLOURS, CORNER_NORMALS, NORMAL, UV, MeshBatch
from equissl.renderers.device_views import DeviceGrid, DeviceViews
from equissl.renderers.lighting import floor_irradiance
from equissl.renderers.torch_lighting import (
    Vector3,
    disk_point,
    dot,
    sky_irradiance,
    spot_irradiance,
    texture_colour,
    to_display,
)
from equissl.renderers.traced_mesh import SURFACE_OFFSET


@dataclass(frozen=True)
class ShadingOptions:
    """Options of the shading, as the ``raycast`` renderer's of the same names; defaults as its ``plain`` quality."""

    antialias: int = 2
    spot_samples: int = 1
    view_transform: str = "filmic"
    sun_strength: float = scene.SUN_IRRADIANCE
    swap_red_blue: bool = False


@dataclass(frozen=True, eq=False)
class SurfaceHits:
    """First hits of the camera rays before the floor; (V, S).

    Attributes:
        face: int32 triangle of the view's mesh, -1 where the floor is seen. The rest is defined only elsewhere.
        distance: along the ray.
        second, third: barycentric weights of the second and third corner.
    """

    face: Tensor
    distance: Tensor
    second: Tensor
    third: Tensor


class Tracer(Protocol):
    """Tracer of the surfaces of one batch of meshes."""

    def first_hits(self, views: DeviceViews, grid: DeviceGrid) -> SurfaceHits:
        """Trace the camera rays of each view.

        Args:
            views: V.
            grid: grid of pixels.
        """
        ...

    def blocked(self, views: DeviceViews, view: Tensor, start: Vector3, towards: Vector3) -> Tensor:
        """True where the view's mesh lies between ``start`` and the spot light at ``start + towards``, (n,) bool.

        ``view`` is (n,) int64; the vectors are in object coordinates.

        Args:
            views: V.
            view: (n,) int64.
            start: (n,) object coordinates.
            towards: (n,) object coordinates, to the light.
        """
        ...


def render_views(
    batch: MeshBatch, views: DeviceViews, grid: DeviceGrid, tracer: Tracer, options: ShadingOptions
) -> tuple[Tensor, Tensor]:
    """Render V views: uint8 (V, size, size, 3), first row at the top, and the pixels (V,) that show the object.

    Args:
        batch: batch of meshes.
        views: V.
        grid: grid of pixels.
        tracer: tracer of the batch.
        options: options of the shading.
    """
    hits = tracer.first_hits(views, grid)
    covered = hits.face >= 0
    shape = (len(views), grid.samples, grid.pixels)
    spot = _spot_on_floor(batch, views, grid, covered, tracer, options)
    spot = _mean(spot.view(shape))[..., None] * views.light_colour[:, None]
    open_floor = floor_irradiance(options.sun_strength) * (1.0 - _mean(covered.view(shape).float()))
    radiance = (open_floor[..., None] + spot) * (views.floor_colour * (1.0 / math.pi))[:, None]
    objects = radiance.new_zeros(*shape, 3)
    index = covered.flatten().nonzero().squeeze(1)
    # A place of its own for each sub-sample: sums then have one order, and images are the same every time.
    objects.view(-1, 3)[index] = _shade_object(batch, views, grid, hits, index, tracer, options).T
    image = to_display(radiance + _mean(objects), options.view_transform)
    if options.swap_red_blue:
        image = image.flip(-1)
    return image.view(len(views), grid.size, grid.size, 3), covered.view(shape).any(dim=1).sum(dim=1)


def _mean(samples: Tensor) -> Tensor:
    """Over the sub-samples (V, K, …), one after the other."""
    total = samples[:, 0]
    for k in range(1, samples.shape[1]):
        total = total + samples[:, k]
    return total * (1.0 / samples.shape[1])


def _shade_object(
    batch: MeshBatch,
    views: DeviceViews,
    grid: DeviceGrid,
    hits: SurfaceHits,
    index: Tensor,
    tracer: Tracer,
    options: ShadingOptions,
) -> Tensor:
    """Outgoing radiance (3, n) of the hits at flat positions ``index`` (n,)."""
    samples = grid.samples * grid.pixels
    view, sample = index // samples, index % samples
    distance, second, third = (t.flatten()[index] for t in (hits.distance, hits.second, hits.third))
    weights = (1.0 - second - third, second, third)
    face = batch.first_face[views.mesh[view].long()] + hits.face.flatten()[index]
    record = batch.records[face].T.contiguous()
    rotation = views.rotation[view].permute(1, 2, 0)
    direction = [dot(rotation[:, i], grid.direction[sample].T) for i in range(3)]
    camera = views.camera_in_object[view].T
    point = [camera[i] + distance * direction[i] for i in range(3)]
    face_normal, normal = _normals(record, weights, direction)
    n_z = dot(rotation[2], normal)
    light = sky_irradiance(n_z, options.sun_strength)
    bounce = (1.0 - n_z) * (0.5 * floor_irradiance(options.sun_strength))
    spot = _spot_on_object(views, grid, view, sample, point, face_normal, normal, tracer, options)
    light = light + bounce * views.floor_colour[view].T + spot * views.light_colour[view].T
    return light * _albedo(batch, face, record, weights) * (1.0 / math.pi)


def _normals(record: Tensor, weights: Vector3, direction: Vector3) -> tuple[Tensor, Tensor]:
    """Face and interpolated normals (3, n), each turned to the viewer's side (surfaces are two-sided)."""
    face = record[NORMAL]
    face = torch.where(dot(face, direction) > 0, -face, face)
    corners = record[CORNER_NORMALS]
    smooth = corners[0:3] * weights[0] + corners[3:6] * weights[1] + corners[6:9] * weights[2]
    length = dot(smooth, smooth).sqrt()
    smooth = smooth * (torch.where(dot(smooth, face) < 0, -1.0, 1.0) / length.clamp(min=1e-6))
    return face, torch.where(length > 1e-6, smooth, face)


def _albedo(batch: MeshBatch, face: Tensor, record: Tensor, weights: Vector3) -> Tensor:
    """Linear albedo (3, n)."""
    albedo = record[ALBEDO]
    if len(batch.texels):
        material = batch.face_material[face]
        textured = batch.texture_size[material, 0].nonzero().squeeze(1)
        u, v = _interpolate(record[UV][:, textured], [w[textured] for w in weights])
        albedo[:, textured] = texture_colour(batch, material[textured], u, v)
    return albedo * _interpolate(record[COLOURS], weights) if len(record) == COLOURS.stop else albedo


def _interpolate(corners: Tensor, weights: Vector3) -> Tensor:
    """Values (C, n) between those of three corners, one after the other (3·C, n)."""
    a, b, c = corners.chunk(3)
    return a * weights[0] + b * weights[1] + c * weights[2]


def _spot_on_object(
    views: DeviceViews,
    grid: DeviceGrid,
    view: Tensor,
    sample: Tensor,
    point: Vector3,
    face_normal: Tensor,
    normal: Tensor,
    tracer: Tracer,
    options: ShadingOptions,
) -> Tensor:
    """Irradiance (n,) by the spot light (white) with shadows, in object coordinates."""
    axis = views.axis_in_object[view].T
    spot, across = views.light_in_object[view].T, (views.first_in_object[view].T, views.second_in_object[view].T)
    total = torch.zeros_like(point[0])
    for number in range(options.spot_samples):
        source = _spot_point(number, spot, across, grid, sample, options)
        offset = [source[i] - point[i] for i in range(3)]
        light = spot_irradiance(offset, axis, dot(offset, offset)) * dot(offset, normal).clamp(min=0.0)
        lit = ((light > 0) & (dot(offset, face_normal) > 0)).nonzero().squeeze(1)
        start = [point[i][lit] + SURFACE_OFFSET * face_normal[i][lit] for i in range(3)]
        free = ~tracer.blocked(views, view[lit], start, [o[lit] for o in offset])
        total[lit] += light[lit] * free
    return total * (1.0 / options.spot_samples)


def _spot_on_floor(
    batch: MeshBatch, views: DeviceViews, grid: DeviceGrid, covered: Tensor, tracer: Tracer, options: ShadingOptions
) -> Tensor:
    """Irradiance (V, S) of the floor by the spot light (white) with shadows; 0 where the object is seen."""
    spot, axis = views.light.T[..., None], views.axis.T[..., None]
    across = (views.first.T[..., None], views.second.T[..., None])
    every = torch.arange(len(grid.floor_x), device=grid.floor_x.device)
    total = torch.zeros_like(covered, dtype=torch.float32)
    for number in range(options.spot_samples):
        source = _spot_point(number, spot, across, grid, every, options)
        offset = [source[0] - grid.floor_x, source[1] - grid.floor_y, (source[2] - scene.FLOOR_Z).expand_as(total)]
        distance2 = dot(offset, offset)
        light = spot_irradiance(offset, axis, distance2) * offset[2]
        light = light.masked_fill(covered, 0.0)
        index = _near_object(batch, views, grid, offset, distance2, light).flatten().nonzero().squeeze(1)
        view, sample = index // len(every), index % len(every)
        blocked = _floor_blocked(views, grid, view, sample, [o.flatten()[index] for o in offset], tracer)
        light.view(-1)[index] *= ~blocked
        total += light
    return total * (1.0 / options.spot_samples)


def _near_object(
    batch: MeshBatch, views: DeviceViews, grid: DeviceGrid, offset: Vector3, distance2: Tensor, light: Tensor
) -> Tensor:
    """Lit floor samples (V, S) that see the spot light through the object's bounding sphere."""
    centre = views.translation.T[..., None]
    to_centre = (centre[0] - grid.floor_x, centre[1] - grid.floor_y, centre[2] - scene.FLOOR_Z)
    radius = batch.radius[views.mesh.long()][:, None]
    along = dot(to_centre, offset)
    return ((dot(to_centre, to_centre) - radius * radius) * distance2 <= along * along) & (light > 0)


def _floor_blocked(
    views: DeviceViews, grid: DeviceGrid, view: Tensor, sample: Tensor, offset: Vector3, tracer: Tracer
) -> Tensor:
    """True where the object hides the spot light, at world ``offset``, from floor samples; (n,) bool."""
    centre = views.translation[view].T
    start = (grid.floor_x[sample] - centre[0], grid.floor_y[sample] - centre[1], scene.FLOOR_Z - centre[2])
    rotation = views.rotation[view].permute(1, 2, 0)
    in_object = [[dot(rotation[:, i], vector) for i in range(3)] for vector in (start, offset)]
    return tracer.blocked(views, view, *in_object)


def _spot_point(
    number: int,
    centre: Tensor,
    across: tuple[Tensor, Tensor],
    grid: DeviceGrid,
    sample: Tensor,
    options: ShadingOptions,
) -> Vector3:
    """Point of the spot light that sub-samples see: its centre, or one of several of its disk."""
    if options.spot_samples == 1:
        return centre
    a, b = disk_point(number, options.spot_samples, grid.turn_cos[sample], grid.turn_sin[sample], grid.stretch[sample])
    return [centre[i] + a * across[0][i] + b * across[1][i] for i in range(3)]
