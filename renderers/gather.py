"""Light from the hemisphere: sky and sun where unoccluded, the floor, and the object itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from equissl.renderers import scene
from equissl.renderers.lighting import Vector, dot, sky_irradiance, spot_irradiance
from equissl.renderers.sampling import cosine_directions, frame, from_frame, sequence, tile_rank
from equissl.renderers.specular import sample_lobe
from equissl.renderers.surface import Surface
from equissl.renderers.traced_mesh import SURFACE_OFFSET, Hits, TracedMesh, pack_rays
from equissl.renderers.views import Views, columns, per_sample

_SUN_EDGE = math.cos(scene.SUN_HALF_ANGLE)


@dataclass(frozen=True, eq=False)
class FloorRadiance:
    """Upward radiance of the floor, on a grid of nodes per view.

    Attributes:
        origin: (2, V) float32 world x and y of the first node.
        spacing: (V,) float32 distance between nodes.
        nodes: per side.
        radiance: (3, V·nodes²) float32, rows along y.
    """

    origin: np.ndarray
    spacing: np.ndarray
    nodes: int
    radiance: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Look up the radiance (3, n) of the nearest node; outside the grid, of its border.

        Args:
            x: (n,).
            y: (n,).
            view: (n,) index of the view.
        """
        origin, inverse = per_sample(self.origin, view), 1.0 / per_sample(self.spacing, view)
        column, row = (
            np.clip((a - o) * inverse + 0.5, 0, self.nodes - 1).astype(np.int32)
            for a, o in zip((x, y), origin, strict=True)
        )
        return self.radiance[:, (view * self.nodes + row) * self.nodes + column]


def sky_radiance(up: np.ndarray, sun_strength: float) -> np.ndarray:
    """Compute the radiance of world plus sun; zero below the horizon.

    Args:
        up: z components of directions.
        sun_strength: irradiance of the sun.
    """
    sun = sun_strength / (math.pi * math.sin(scene.SUN_HALF_ANGLE) ** 2)
    return np.where(up > _SUN_EDGE, np.float32(scene.WORLD_RADIANCE + sun), np.float32(scene.WORLD_RADIANCE)) * (up > 0)


@dataclass(frozen=True, eq=False)
class Gather:
    """Gatherer of light along rays from the object into the scene.

    Attributes:
        mesh, views, floor: the scene.
        sun_strength: irradiance of open ground by the sun.
        hit_light: share of the open sky's, floor's and spot light's light assumed where a ray meets the object again.
        bounces: how many times light is followed on from such hits instead.
        samples: lit points a pixel, which share a run of the sequence.
    """

    mesh: TracedMesh
    views: Views
    floor: FloorRadiance
    sun_strength: float
    hit_light: float
    bounces: int = 0
    samples: int = 1

    def irradiance(self, surface: Surface, rays: int) -> np.ndarray:
        """Gather the irradiance (3, n) by everything but the spot light.

        Args:
            surface: n points.
            rays: rays of each point, cosine-distributed.
        """
        start, basis = _starts(surface.point, surface.face_normal), frame(surface.normal)
        first = self._part(surface) * rays
        table = cosine_directions(16 * self.samples * rays)
        total = np.zeros((3, len(surface)), np.float32)
        for i in range(rays):
            direction = from_frame(table[:, first + i], basis, surface.normal)
            radiance = self.radiance(start, direction, surface.view, first + i, self.bounces)
            total += radiance * (dot(direction, surface.face_normal) > 0)
        return total * np.float32(math.pi / rays)

    def sky_reflection(self, surface: Surface, rays: int, f0: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Gather the radiance (n,) of sky and sun in the specular lobe; the floor and the object do not show in it.

        Args:
            surface: n points.
            rays: rays of each point.
            f0: reflectance at normal incidence.
            alpha: width of the lobe.
        """
        shiny = np.flatnonzero(f0 > 0)
        result = np.zeros(len(surface), np.float32)
        if shiny.size == 0:
            return result
        surface, f0, alpha = surface.take(shiny), f0[shiny], alpha[shiny]
        start, basis = _starts(surface.point, surface.face_normal), frame(surface.normal)
        viewer = np.stack([-dot(b, surface.direction) for b in (*basis, surface.normal)])
        viewer[2] = np.maximum(viewer[2], 1e-3)
        up = self.views.world_axis(2, surface.view)
        first = self._part(surface) * rays
        table = sequence(16 * self.samples * rays, 2).astype(np.float32)
        total = np.zeros(len(surface), np.float32)
        for i in range(rays):
            local, weight = sample_lobe(table[:, first + i], viewer, f0, alpha)
            direction = from_frame(local, basis, surface.normal)
            weight *= sky_radiance(dot(direction, up), self.sun_strength)
            weight *= dot(direction, surface.face_normal) > 0
            cast = np.flatnonzero(weight)
            weight[cast] *= self.mesh.transmittance(*(tuple(a[i][cast] for i in range(3)) for a in (start, direction)))
            total += weight
        result[shiny] = total * (1.0 / rays)
        return result

    def radiance(
        self, start: Vector, direction: Vector, view: np.ndarray, number: np.ndarray, bounces: int
    ) -> np.ndarray:
        """Compute (3, n) radiance that arrives at points from directions, both in the object frame.

        Args:
            start, direction: three arrays (n,) each; directions are unit vectors.
            view: (n,) view of each ray.
            number: (n,) place in the sequence of directions, for further bounces.
            bounces: how many more to follow.
        """
        total, open_share = np.zeros((3, view.size), np.float32), np.ones(view.size, np.float32)
        rays = pack_rays(start, direction)
        for hits, share in self.mesh.layers(rays):
            ray = np.ascontiguousarray(rays[hits.ray].T)
            sent = self.reflected(ray[:3] + hits.distance * ray[3:], ray[3:], hits, view[hits.ray], number, bounces)
            total[:, hits.ray] += sent * share
            open_share[hits.ray] -= share
        free = np.flatnonzero(open_share > 1e-4)
        start, direction = (
            tuple(np.broadcast_to(a[i], view.shape)[free] for i in range(3)) for a in (start, direction)
        )
        total[:, free] += open_share[free] * self._background(start, direction, view[free])
        return total

    def _background(self, start: Vector, direction: Vector, view: np.ndarray) -> np.ndarray:
        """(3, n) radiance of sky or floor."""
        axes = [self.views.world_axis(i, view) for i in range(3)]
        up = dot(direction, axes[2])
        result = np.broadcast_to(sky_radiance(up, self.sun_strength), (3, up.size)).copy()
        down = np.flatnonzero(up < 0)
        start, direction = (tuple(a[i][down] for i in range(3)) for a in (start, direction))
        axes = [tuple(np.broadcast_to(a, up.shape)[down] for a in axis) for axis in axes]
        view = view[down]
        position = [dot(start, axes[i]) + per_sample(self.views.translation[i], view) for i in range(3)]
        length = (scene.FLOOR_Z - position[2]) / np.minimum(up[down], -1e-3)
        x, y = (position[i] + length * dot(direction, axes[i]) for i in (0, 1))
        result[:, down] = self.floor.at(x, y, view)
        return result

    def reflected(
        self, point: np.ndarray, direction: np.ndarray, hits: Hits, view: np.ndarray, number: np.ndarray, bounces: int
    ) -> np.ndarray:
        """Compute the radiance (3, n) that the object's points send back against ``direction``.

        Args:
            point: start of the rays.
            direction: direction of the rays.
            hits: hits of the rays.
            view: index of each ray's view.
            number: number of each ray.
            bounces: left.
        """
        normal = np.ascontiguousarray(self.mesh.face_records[:, TracedMesh.NORMAL][hits.face].T)
        normal *= np.where(dot(normal, direction) > 0, np.float32(-1), np.float32(1))
        start = _starts(point, normal)
        if bounces > 0:
            number = number[hits.ray]
            table = cosine_directions(number.max(initial=0) + 1, bounces, self.bounces + 1)
            onward = from_frame(table[:, number], frame(normal), normal)
            light = math.pi * self.radiance(start, onward, view, number, bounces - 1)
            spot = self._spot(start, normal, view, True)
        else:
            up = dot(normal, self.views.world_axis(2, view))
            x, y = (
                dot(point, self.views.world_axis(i, view)) + per_sample(self.views.translation[i], view) for i in (0, 1)
            )
            light = self.hit_light * sky_irradiance(up, self.sun_strength)
            light = light + (0.5 * math.pi) * (1.0 - up) * self.floor.at(x, y, view)
            spot = self._spot(start, normal, view, False) * self.hit_light
        colour = self.views.arrays.light_colour
        light += spot * np.stack([np.broadcast_to(per_sample(colour[:, c], view), spot.shape) for c in range(3)])
        return light * self.mesh.face_mean_albedo[hits.face].T * np.float32(1 / math.pi)

    def _part(self, surface: Surface) -> np.ndarray:
        """Index of the run of the sequence that each point uses."""
        row, column = np.divmod(surface.pixel % self.views.grid.pixels, self.views.grid.size)
        return tile_rank(row, column) * self.samples + surface.sample % self.samples

    def _spot(self, point: Vector, normal: Vector, view: np.ndarray, shadows: bool) -> np.ndarray:
        """Irradiance (n,) by the spot light's centre."""
        spot = columns(self.views.light_in_object, view)
        offset = tuple(spot[i] - point[i] for i in range(3))
        cosine = np.maximum(dot(offset, normal), 0.0)
        light = spot_irradiance(offset, columns(self.views.axis_in_object, view), dot(offset, offset)) * cosine
        if shadows:
            lit = np.flatnonzero(light)
            light[lit] *= self.mesh.transmittance(*(tuple(a[i][lit] for i in range(3)) for a in (point, offset)))
        return light


def _starts(point: Vector, normal: Vector) -> Vector:
    return tuple(point[i] + np.float32(SURFACE_OFFSET) * normal[i] for i in range(3))
