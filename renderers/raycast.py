"""CPU renderer of the 3DIEBench scene: Embree rays (through Open3D) and array shading, no OpenGL and no display.

Per view: camera rays find the object, the floor is an analytic plane; both get sun, sky and the spot light with cast
shadows, and the object also the light that the floor reflects. The option ``quality`` says how exactly: ``plain``, the
default, takes sun and sky in closed form as if the object were convex, with matt and opaque materials; ``draft`` does
so with one sample a pixel; ``fast`` adds the object's shadow from them on the floor, the spot light's reflection, and
transparency; ``soft`` and ``reference`` follow rays over the hemisphere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.camera import PixelGrid, pixel_grid
from equissl.renderers.counting import Rendering
from equissl.renderers.floor import FloorLight
from equissl.renderers.image import to_display
from equissl.renderers.lighting import floor_irradiance
from equissl.renderers.options import RaycastOptions
from equissl.renderers.scene import ViewArrays, ViewParameters, view_arrays
from equissl.renderers.shading import ObjectSamples, shade_floor, shade_object
from equissl.renderers.spot import smooth_spot_on_floor, spot_on_floor
from equissl.renderers.traced_mesh import TracedMesh, open3d_core
from equissl.renderers.views import Views, per_sample
from equissl.util.registry import check_options

_RAYS_PER_PASS = 65536  # arrays of this length still fit the second-level cache


class RaycastRenderer:
    """Ray casting renderer, see the module; options are those of :class:`RaycastOptions`.

    The same mesh, view, size and options give the same bytes, whatever else is rendered in the same call.
    """

    name = "raycast"
    version = "raycast-1"

    def __init__(self, **options: Any) -> None:
        check_options(f"renderer {self.name!r}", options, [f.name for f in fields(RaycastOptions)], RendererError)
        self._options = RaycastOptions.resolve(options)
        open3d_core()  # a missing library is found here, not at the first mesh
        self._traced: WeakKeyDictionary[Mesh, TracedMesh] = WeakKeyDictionary()  # kept for as long as the mesh is

    @property
    def options(self) -> Mapping[str, Any]:
        return asdict(self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        # Embree scenes cannot be pickled; a worker process builds its own.
        return _unpickle, (self.options,)

    def render(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
        """Render all ``views`` of one mesh.

        Args:
            mesh: object with its centre at the origin; drawn at its own scale.
            views: V scene parameters.
            size: image width and height in pixels, at least 8.

        Returns:
            uint8 (V, size, size, 3), first row at the top; true RGB unless ``swap_red_blue`` is set.

        Raises:
            RendererError: for an empty or broken mesh, a view that is not finite, or a bad size.
        """
        return self.render_counted(mesh, views, size).images

    def render_counted(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> Rendering:
        """Render as :meth:`render` does, and count the pixels that show the object.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        if not isinstance(size, (int, np.integer)) or size < 8:
            raise RendererError(f"expected an image size of at least 8 pixels, got {size!r}")
        arrays = view_arrays(views)
        traced = self._trace(mesh)
        grid = pixel_grid(int(size), self._options.antialias, self._options.field_of_view)
        images, counts = np.empty((len(arrays), grid.pixels, 3), np.uint8), np.empty(len(arrays), np.int64)
        step = max(1, _RAYS_PER_PASS // (grid.pixels * grid.samples))
        for start in range(0, len(arrays), step):
            part = slice(start, start + step)
            counts[part] = _render_pass(traced, grid, arrays[part], self._options, images[part])
        if self._options.swap_red_blue:
            images = images[..., ::-1]
        return Rendering(np.ascontiguousarray(images).reshape(len(arrays), size, size, 3), counts)

    def _trace(self, mesh: Mesh) -> TracedMesh:
        if mesh not in self._traced:
            self._traced[mesh] = TracedMesh(mesh, self._options.transparency)
        return self._traced[mesh]


def _unpickle(options: Mapping[str, Any]) -> RaycastRenderer:
    return RaycastRenderer(**options)


def _render_pass(
    mesh: TracedMesh, grid: PixelGrid, arrays: ViewArrays, options: RaycastOptions, out: np.ndarray
) -> np.ndarray:
    """Render a few views at once into ``out`` (V, P, 3), and return the pixels (V,) that show the object."""
    views = Views(arrays, grid)
    floor, sent = shade_floor(mesh, views, options)
    objects = shade_object(mesh, views, sent, options)
    if floor is None:
        _compose_open_floor(mesh, views, objects, options, out)
    else:
        _compose_lit_floor(mesh, views, floor, objects, options, out)
    return np.count_nonzero(objects.coverage.reshape(len(views), grid.pixels), axis=1)


def _compose_lit_floor(
    mesh: TracedMesh,
    views: Views,
    floor: FloorLight,
    objects: ObjectSamples,
    options: RaycastOptions,
    out: np.ndarray,
) -> None:
    """Images on a floor whose light was traced."""
    arrays, grid = views.arrays, views.grid
    seen = 1.0 - objects.coverage
    spot = smooth_spot_on_floor(mesh, views, options.spot_samples, 1 if options.relight else 2) * seen
    view = np.repeat(np.arange(len(views)), grid.pixels)
    for channel, irradiance in enumerate(floor.image(views)):
        radiance = irradiance.ravel() * seen + spot * per_sample(arrays.light_colour[:, channel], view)
        radiance *= per_sample(arrays.floor_colour[:, channel] * np.float32(1.0 / math.pi), view)
        radiance += objects.radiance[channel]
        out[:, :, channel] = to_display(radiance, options.view_transform).reshape(len(views), grid.pixels)


def _compose_open_floor(
    mesh: TracedMesh, views: Views, objects: ObjectSamples, options: RaycastOptions, out: np.ndarray
) -> None:
    """Images on a floor whose light is known: only pixels of object, spot and shadow are worked out."""
    arrays, grid = views.arrays, views.grid
    spot = spot_on_floor(mesh, views, objects.floor_share, options.spot_samples)
    open_floor = floor_irradiance(options.sun_strength)
    changed = np.flatnonzero(objects.coverage + spot)
    view = changed // grid.pixels
    irradiance = open_floor * (1.0 - objects.coverage[changed])
    spot = spot[changed]
    flat = out.reshape(-1, 3)
    for channel in range(3):
        albedo = arrays.floor_colour[:, channel] * (1.0 / math.pi)
        out[:, :, channel] = to_display(albedo * open_floor, options.view_transform)[:, None]
        radiance = (irradiance + spot * per_sample(arrays.light_colour[:, channel], view)) * per_sample(albedo, view)
        radiance += objects.radiance[channel][changed]
        flat[changed, channel] = to_display(radiance, options.view_transform)
