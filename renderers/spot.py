"""Spot light with cast shadows, on the object and on the floor."""

from __future__ import annotations

import math

import numpy as np

from equissl.renderers import scene
from equissl.renderers.filtering import binomial_levels, double
from equissl.renderers.lighting import Vector, dot, spot_irradiance
from equissl.renderers.specular import lobe
from equissl.renderers.surface import Surface
from equissl.renderers.traced_mesh import SURFACE_OFFSET, TracedMesh
from equissl.renderers.views import (
    SpotNoise,
    Views,
    columns,
    fixed_noise,
    per_sample,
    spot_points,
    spot_reach,
    tile_noise,
    turn_to_object,
    white_noise,
)

_SMOOTH_SAMPLES = 16  # of the spot light's disk, for its light without shadows


def spot_on_object(
    mesh: TracedMesh,
    views: Views,
    surface: Surface,
    samples: int,
    noise: SpotNoise,
    gloss: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Irradiance by the white spot light (n,), and the radiance (n,) that the surface's specular lobe makes of it.

    Args:
        mesh, views, surface: what is lit.
        samples: points of the spot light.
        noise: turns and stretches their pattern.
        gloss: F0 and GGX alpha (n,) of each point; without them the second answer is zero.
    """
    point, face_normal, normal, view = surface.point, surface.face_normal, surface.normal, surface.view
    axis = columns(views.axis_in_object, view)
    total, shine = np.zeros(view.size, np.float32), np.zeros(view.size, np.float32)
    for spot in spot_points(views.light_in_object, views.disk_in_object, view, samples, noise):
        offset = tuple(spot[i] - point[i] for i in range(3))
        cosine = np.maximum(dot(offset, normal), 0.0)
        distance2 = dot(offset, offset)
        light = spot_irradiance(offset, axis, distance2) * cosine
        light *= dot(offset, face_normal) > 0
        lit = np.flatnonzero(light)
        start = tuple(point[i][lit] + SURFACE_OFFSET * face_normal[i][lit] for i in range(3))
        light[lit] *= mesh.transmittance(start, tuple(o[lit] for o in offset))
        total += light
        if gloss is not None:
            shine += light * _shine(surface, offset, distance2, gloss)
    return total * (1.0 / samples), shine * (1.0 / samples)


def _shine(surface: Surface, offset: Vector, distance2: np.ndarray, gloss: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    inverse = 1.0 / np.sqrt(distance2)
    towards = tuple(o * inverse for o in offset)
    return lobe(surface.normal, -surface.direction, towards, *gloss)


def spot_on_floor(mesh: TracedMesh, views: Views, seen: np.ndarray, samples: int) -> np.ndarray:
    """Irradiance of the floor by the white spot light with shadows, averaged over a pixel's sub-samples: (V·P,).

    Args:
        mesh, views: the scene.
        seen: (K, V·P) share of each sub-sample that shows the floor.
        samples: points of the spot light.
    """
    grid = views.grid
    pixel, view = views.gather([grid.spot_patch(light, spot_reach(samples)) for light in views.arrays.light_position])
    target = view * grid.pixels + pixel
    x, y = grid.floor_x[:, pixel], grid.floor_y[:, pixel]
    noise = white_noise(grid, np.arange(grid.samples)[:, None] * grid.pixels + pixel)
    axis = columns(views.axis, view)
    weight = seen[:, target]
    total = np.zeros_like(x)
    for spot in spot_points(views.light, views.disk, view, samples, noise):
        offset = (spot[0] - x, spot[1] - y, spot[2] - scene.FLOOR_Z)
        distance2 = dot(offset, offset)
        light = spot_irradiance(offset, axis, distance2) * offset[2]
        light *= weight
        shadow_on_floor(mesh, views, x, y, offset, distance2, view, light)
        total += light
    irradiance = np.zeros(seen.shape[1], np.float32)
    irradiance[target] = total.sum(0) * (1.0 / (samples * grid.samples))
    return irradiance


def smooth_spot_on_floor(mesh: TracedMesh, views: Views, samples: int, step: int) -> np.ndarray:
    """The same from the middle of each pixel and as if nothing stood before the floor, (V·P,), with less noise.

    The light without shadows comes from fixed points of the spot light; only its visible share is sampled, with
    another pattern in each pixel, and then filtered.

    Args:
        mesh, views: the scene.
        samples: shadow rays a pixel.
        step: 1, or 2 to light every second row and column and interpolate.
    """
    grid = views.grid
    side = -(-grid.size // step)
    pixel, view = views.gather([grid.spot_patch(p, spot_reach(2), step) for p in views.arrays.light_position])
    row, column = np.divmod(pixel, grid.size)
    row, column = row // step, column // step
    place = (view * side + row) * side + column
    x, y = (a[pixel] for a in grid.floor_middle)
    light = _unshadowed(views, x, y, view)
    lit = np.flatnonzero(light)
    lit = lit[_may_be_shadowed(mesh, views, x[lit], y[lit], view[lit])]
    x, y, shaded_view = x[lit], y[lit], view[lit]
    hidden = np.zeros(lit.size, np.float32)
    noise = tile_noise(row[lit], column[lit])
    for spot in spot_points(views.light, views.disk, shaded_view, samples, noise):
        offset = (spot[0] - x, spot[1] - y, spot[2] - scene.FLOOR_Z)
        share = np.ones((1, lit.size), np.float32)
        shadow_on_floor(mesh, views, x[None], y[None], offset, dot(offset, offset), shaded_view, share)
        hidden += 1 - share[0]
    visible = np.ones((len(views), side, side), np.float32)
    visible.reshape(-1)[place[lit]] -= hidden * np.float32(1 / samples)
    irradiance = np.zeros_like(visible)
    irradiance.reshape(-1)[place] = light
    irradiance *= binomial_levels(visible, 2 // step)
    return (irradiance if step == 1 else double(irradiance, grid.size)).reshape(-1)


def _unshadowed(views: Views, x: np.ndarray, y: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Irradiance of floor points by the white spot light if nothing stood between."""
    axis, spot = columns(views.axis, view), columns(views.light, view)
    offset = (spot[0] - x, spot[1] - y, spot[2] - scene.FLOOR_Z)
    distance2 = dot(offset, offset)
    along = -dot(offset, axis)
    cos2 = along * along / distance2
    light = spot_irradiance(offset, axis, distance2) * offset[2]
    # Only near the cone's edge do the points of the spot light differ in more than the third digit.
    inner, outer = (math.cos(2 * scene.SPOT_HALF_ANGLE - spot_reach(2)), math.cos(spot_reach(2)))
    edge = np.flatnonzero((cos2 < inner * inner) & (cos2 > outer * outer))
    x, y, view = x[edge], y[edge], view[edge]
    axis = columns(views.axis, view)
    blurred = np.zeros_like(x)
    for spot in spot_points(views.light, views.disk, view, _SMOOTH_SAMPLES, fixed_noise()):
        offset = (spot[0] - x, spot[1] - y, spot[2] - scene.FLOOR_Z)
        blurred += spot_irradiance(offset, axis, dot(offset, offset)) * offset[2]
    light[edge] = blurred * np.float32(1 / _SMOOTH_SAMPLES)
    return light


def _may_be_shadowed(mesh: TracedMesh, views: Views, x: np.ndarray, y: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Floor points from which some of the spot light may be behind the object's bounding sphere, (n,) bool."""
    spot, centre = columns(views.light, view), per_sample(views.translation, view)
    offset = (spot[0] - x, spot[1] - y, spot[2] - scene.FLOOR_Z)
    to_centre = (centre[0] - x, centre[1] - y, centre[2] - scene.FLOOR_Z)
    along, distance2 = dot(to_centre, offset), dot(offset, offset)
    # the sphere widened by the disk: rays to its rim pass the object nearer than that to the middle ray
    reach = mesh.radius + scene.SPOT_RADIUS
    return (dot(to_centre, to_centre) - reach * reach) * distance2 <= along * along


def shadow_on_floor(
    mesh: TracedMesh,
    views: Views,
    x: np.ndarray,
    y: np.ndarray,
    offset: Vector,
    distance2: np.ndarray,
    view: np.ndarray,
    light: np.ndarray,
) -> None:
    """Dim ``light`` (K, n) where the mesh hides the spot light. Rays that pass the bounding sphere are not cast.

    Args:
        mesh: mesh that the views show.
        views: V.
        x: (n,) of the floor points.
        y: (n,).
        offset: from the points to the light.
        distance2: (n,) squared.
        view: (n,) index of the view.
        light: (K, n), changed in place.
    """
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
    start_in_object = turn_to_object(rotation, (-start[0], -start[1], -start[2]))
    light[sample, column] *= mesh.transmittance(start_in_object, turn_to_object(rotation, towards))
