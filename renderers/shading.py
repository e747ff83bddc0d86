"""Shading of object and floor samples of a few views of one mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equissl.renderers import specular
from equissl.renderers.filtering import lighting_points, smooth
from equissl.renderers.floor import FloorLight, light_floor
from equissl.renderers.gather import FloorRadiance, Gather
from equissl.renderers.lighting import dot, floor_irradiance, sky_irradiance
from equissl.renderers.spot import spot_on_object
from equissl.renderers.surface import Surface, albedo, visible_surface
from equissl.renderers.traced_mesh import TracedMesh
from equissl.renderers.views import Views, per_sample, tile_noise, white_noise

if TYPE_CHECKING:
    from equissl.renderers.options import RaycastOptions


@dataclass(frozen=True, eq=False)
class ObjectSamples:
    """Shaded samples of the object.

    Attributes:
        floor_share: (K, V·P) share of each sub-sample that shows the floor.
        coverage: (V·P,) share of the pixel that shows the object.
        radiance: red, green and blue (V·P,) averaged over all sub-samples, zero where the floor is seen.
    """

    floor_share: np.ndarray
    coverage: np.ndarray
    radiance: list[np.ndarray]


def shade_object(mesh: TracedMesh, views: Views, floor: FloorRadiance | None, options: RaycastOptions) -> ObjectSamples:
    """Find and shade the object.

    Args:
        mesh: mesh that the views show.
        views: V.
        floor: radiance of the floor, or None.
        options: options of the renderer.
    """
    surface = visible_surface(mesh, views)
    if options.relight:
        light = light_surface(mesh, views, floor, surface, options)
    else:
        points, source = lighting_points(surface)
        light = light_surface(mesh, views, floor, surface.take(points), options)[:, source]
    arrays = views.arrays
    colours = []
    for channel, colour in enumerate(albedo(mesh, surface.hits)):
        spot = per_sample(arrays.light_colour[:, channel], surface.view)
        radiance = light[channel] + light[3] * spot
        radiance *= colour
        radiance *= 1.0 / math.pi
        if options.specular:
            radiance += light[4] + light[5] * spot
        colours.append(radiance)
    return _collect(views, surface, colours)


def light_surface(
    mesh: TracedMesh, views: Views, floor: FloorRadiance | None, surface: Surface, options: RaycastOptions
) -> np.ndarray:
    """Compute the light on n points, without the colours of their surface: (6, n) float32.

    Rows: irradiance by all but the spot light (red, green, blue), irradiance by the white spot light, and with
    ``specular`` the radiance that the specular lobe makes of the sky and of the white spot light.

    Args:
        mesh: mesh that the views show.
        views: V.
        floor: radiance of the floor, or None.
        surface: the points.
        options: options of the renderer.
    """
    light = np.zeros((6, len(surface)), np.float32)
    gloss = _gloss(mesh, surface) if options.specular else None
    if options.gather and floor is not None:
        samples = views.grid.samples if options.relight else 1
        gather = Gather(mesh, views, floor, options.sun_strength, options.hit_light, options.bounces, samples)
        light[:3] = gather.irradiance(surface, options.gather)
        if gloss is not None:
            light[4] = gather.sky_reflection(surface, options.gloss_rays, *gloss)
    else:
        light[:3] = _unoccluded(views, surface, options.sun_strength)
    if options.relight:
        noise = white_noise(views.grid, surface.sample * views.grid.pixels + surface.pixel % views.grid.pixels)
    else:
        noise = tile_noise(*np.divmod(surface.pixel % views.grid.pixels, views.grid.size))
    light[3], light[5] = spot_on_object(mesh, views, surface, options.spot_samples, noise, gloss)
    if gloss is not None:
        light[:4] *= 1 - specular.albedo(gloss[0], np.sqrt(gloss[1]), -dot(surface.normal, surface.direction))
    return smooth(light, surface, views.grid.size, options.filter_levels)


def _gloss(mesh: TracedMesh, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """F0 and GGX alpha of each point."""
    roughness = mesh.face_roughness[surface.hits.face]
    f0 = specular.normal_reflectance(mesh.face_specular[surface.hits.face])
    return f0, np.maximum(roughness * roughness, np.float32(1e-3))


def _unoccluded(views: Views, surface: Surface, sun_strength: float) -> np.ndarray:
    """(3, n) irradiance by sky, sun and open floor as if the object were convex."""
    up = dot(surface.normal, views.world_axis(2, surface.view))
    sky = sky_irradiance(up, sun_strength)
    bounce = (1.0 - up) * (0.5 * floor_irradiance(sun_strength))
    return np.stack([sky + bounce * per_sample(views.arrays.floor_colour[:, c], surface.view) for c in range(3)])


def _collect(views: Views, surface: Surface, colours: list[np.ndarray]) -> ObjectSamples:
    """Average sub-samples over pixels."""
    grid = views.grid
    total = len(views) * grid.pixels
    share = 1.0 / grid.samples
    if surface.share.min(initial=1.0) == 1.0:
        floor_share = np.ones((grid.samples, total), np.float32)
        floor_share[surface.sample, surface.pixel] = 0.0
    else:
        place = surface.sample * total + surface.pixel
        hidden = np.bincount(place, surface.share, grid.samples * total).reshape(grid.samples, total)
        floor_share = np.maximum(1.0 - hidden, 0.0).astype(np.float32)
        colours = [colour * surface.share for colour in colours]
    coverage = (1.0 - floor_share).sum(0, dtype=np.float32) * share
    radiance = [np.bincount(surface.pixel, colour, total).astype(np.float32) * share for colour in colours]
    return ObjectSamples(floor_share, coverage, radiance)


def shade_floor(
    mesh: TracedMesh, views: Views, options: RaycastOptions
) -> tuple[FloorLight, FloorRadiance] | tuple[None, None]:
    """Compute the floor's light grid, where the options ask for one.

    Args:
        mesh: mesh that the views show.
        views: V.
        options: options of the renderer.
    """
    if options.floor_nodes == 0:
        return None, None
    return light_floor(mesh, views, options.floor_nodes, options.floor_rays, options.sun_strength, options.hit_light)
