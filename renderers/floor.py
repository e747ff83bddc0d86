"""Light on the floor beneath the object, computed on a grid of nodes and interpolated, as it is smooth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from equissl.renderers import scene
from equissl.renderers.filtering import double
from equissl.renderers.gather import FloorRadiance, Gather, sky_radiance
from equissl.renderers.lighting import dot, floor_irradiance, spot_irradiance
from equissl.renderers.sampling import frame, from_frame, sequence, tile_rank
from equissl.renderers.spot import shadow_on_floor
from equissl.renderers.traced_mesh import TracedMesh, pack_rays
from equissl.renderers.views import Views, columns, per_sample


@dataclass(frozen=True, eq=False)
class FloorLight:
    """Irradiance of the floor by all but the spot light.

    Attributes:
        origin: (2, V) float32 world x and y of the first node.
        spacing: (V,) float32 distance between nodes.
        nodes: per side.
        irradiance: (3, V, nodes, nodes) float32, rows along y.
    """

    origin: np.ndarray
    spacing: np.ndarray
    nodes: int
    irradiance: np.ndarray

    def image(self, views: Views) -> np.ndarray:
        """(3, V, P) in the middle of every pixel, bilinear; every second row and column, the others in between."""
        grid = views.grid
        shape = (grid.size, grid.size)
        x, y = (np.ascontiguousarray(a.reshape(shape)[::2, ::2]) for a in grid.floor_middle)
        result = np.empty((3, len(views), *x.shape), np.float32)
        for number in range(len(views)):
            row, down = self._taps(
                y[:, 0], self.origin[1, number], self.spacing[number]
            )  # a row of the image has one y
            column, across = self._taps(x, self.origin[0, number], self.spacing[number])
            column += self.nodes * np.arange(len(row), dtype=np.int32)[:, None]
            for channel in range(3):
                table = self.irradiance[channel, number]
                rows = table[row] + (table[row + 1] - table[row]) * down[:, None]
                steps = np.diff(rows, axis=1, append=rows[:, -1:])
                result[channel, number] = rows.take(column) + steps.take(column) * across
        images = double(result.reshape(-1, *x.shape), grid.size)
        return images.reshape(3, len(views), grid.pixels)

    def _taps(self, coordinate: np.ndarray, origin: np.floating, spacing: np.floating) -> tuple[np.ndarray, np.ndarray]:
        position = np.clip((coordinate - origin) / spacing, 0, np.float32(self.nodes - 1.001))
        low = position.astype(np.int32)
        return low, position - low


def light_floor(
    mesh: TracedMesh, views: Views, nodes: int, rays: int, sun_strength: float, hit_light: float
) -> tuple[FloorLight, FloorRadiance]:
    """Irradiance of the floor around the object, and the radiance it sends back up, spot light included.

    Sky and sun are known in closed form without the object, so only the cone of its bounding sphere is sampled, for
    the difference that the object makes.

    Args:
        mesh, views: the scene.
        nodes: per side of the grid.
        rays: per node.
        sun_strength: irradiance of open ground by the sun.
        hit_light: see :class:`~equissl.renderers.gather.Gather`.
    """
    # The sun's cone has 45 degrees: its shade ends this far from the object's footprint.
    half = 2 * np.float32(mesh.radius) + np.maximum(views.translation[2] - np.float32(scene.FLOOR_Z), 1)
    spacing = half * np.float32(2 / (nodes - 1))
    origin = views.translation[:2] - half
    open_floor = floor_irradiance(sun_strength)
    view = np.repeat(np.arange(len(views), dtype=np.int32), nodes * nodes)
    row, column = np.divmod(np.arange(nodes * nodes, dtype=np.int32), nodes)
    x, y = (
        (o[:, None] + spacing[:, None] * i).astype(np.float32).ravel()
        for o, i in zip(origin, (column, row), strict=True)
    )
    change = _change_by_object(mesh, views, x, y, view, tile_rank(row, column), rays, sun_strength, hit_light)
    irradiance = _binomial((open_floor + change).reshape(3, len(views), nodes, nodes))
    light = _spot(mesh, views, x, y, view)
    sent = irradiance.reshape(3, -1).copy()
    for channel in range(3):
        sent[channel] += light * per_sample(views.arrays.light_colour[:, channel], view)
        sent[channel] *= per_sample(views.arrays.floor_colour[:, channel], view) * np.float32(1 / math.pi)
    return FloorLight(origin, spacing, nodes, irradiance), FloorRadiance(origin, spacing, nodes, sent)


def _change_by_object(
    mesh: TracedMesh,
    views: Views,
    x: np.ndarray,
    y: np.ndarray,
    view: np.ndarray,
    rank: np.ndarray,
    rays: int,
    sun_strength: float,
    hit_light: float,
) -> np.ndarray:
    """(3, n) irradiance with the object minus without it."""
    start = views.to_object((x, y, np.full_like(x, scene.FLOOR_Z)), view)
    distance = np.sqrt(dot(start, start))
    axis = tuple(-s / np.maximum(distance, 1e-6) for s in start)
    edge = np.where(
        distance > mesh.radius, np.sqrt(np.maximum(1 - (mesh.radius / np.maximum(distance, 1e-6)) ** 2, 0)), -1
    )
    edge = edge.astype(np.float32)
    u, v = sequence(16 * rays, 2).astype(np.float32)[:, (rank * rays + np.arange(rays)[:, None])]
    u, v = (np.tile(a, len(views)).ravel() for a in (u, v))  # ray by ray, view by view
    node = np.tile(np.arange(x.size), rays)
    cosine = 1 - u * (1 - edge[node])
    ring = np.sqrt(np.maximum(1 - cosine * cosine, 0))
    local = np.stack([ring * np.cos(2 * math.pi * v), ring * np.sin(2 * math.pi * v), cosine])
    axis = tuple(a[node] for a in axis)
    direction = from_frame(local, frame(axis), axis)
    height = dot(direction, columns(views.rotation[2], view[node]))
    cast = np.flatnonzero(height > 0)
    ray = pack_rays(tuple(s[node[cast]] for s in start), tuple(d[cast] for d in direction))
    bounced = Gather(mesh, views, _open_radiance(views, sun_strength), sun_strength, hit_light)
    total = np.zeros((3, x.size))
    for hits, share in mesh.layers(ray):
        at = node[cast[hits.ray]]
        up = height[cast[hits.ray]]
        where = np.ascontiguousarray(ray[hits.ray].T)
        point = where[:3] + hits.distance * where[3:]
        sent = bounced.reflected(point, where[3:], hits, view[at], np.zeros(0, np.int64), 0)
        change = (sent - sky_radiance(up, sun_strength)) * (up * share)
        total += np.stack([np.bincount(at, c, x.size) for c in change])
    return total.astype(np.float32) * ((2 * math.pi / rays) * (1 - edge))


def _open_radiance(views: Views, sun_strength: float) -> FloorRadiance:
    """A floor that nothing shades, without the spot light."""
    scale = np.float32(floor_irradiance(sun_strength) / math.pi)
    return FloorRadiance(
        np.zeros((2, len(views)), np.float32), np.ones(len(views), np.float32), 1, views.arrays.floor_colour.T * scale
    )


def _spot(mesh: TracedMesh, views: Views, x: np.ndarray, y: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(n,) irradiance of the nodes by the white spot light's centre, with shadows."""
    spot = columns(views.light, view)
    offset = (spot[0] - x, spot[1] - y, spot[2] - np.full_like(x, scene.FLOOR_Z))
    distance2 = dot(offset, offset)
    light = (spot_irradiance(offset, columns(views.axis, view), distance2) * offset[2])[None]
    shadow_on_floor(mesh, views, x[None], y[None], offset, distance2, view, light)
    return light[0]


def _binomial(values: np.ndarray) -> np.ndarray:
    """1-2-1 over both axes of the grid; the border stays."""
    for axis in (-1, -2):
        values = np.moveaxis(values, axis, -1)
        smooth = values.copy()
        smooth[..., 1:-1] = 0.5 * values[..., 1:-1] + 0.25 * (values[..., :-2] + values[..., 2:])
        values = np.moveaxis(smooth, -1, axis)
    return np.ascontiguousarray(values)
