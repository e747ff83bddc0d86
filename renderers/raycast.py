"""CPU renderer of the 3DIEBench scene: Embree rays (through Open3D) and array shading, no OpenGL and no display.

Per view: camera rays find the object, the floor is an analytic plane; both get the sun and the sky in closed form,
the spot light with cast shadows, and the object also the light that the floor reflects. Materials are Lambertian and
opaque.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers import scene
from equissl.renderers.base import RendererError, check_option_names, register_renderer
from equissl.renderers.bvh import TracedMesh, open3d_core
from equissl.renderers.camera import SUBPIXEL_OFFSETS, PixelGrid, pixel_grid
from equissl.renderers.image import VIEW_TRANSFORMS, to_display
from equissl.renderers.lighting import floor_irradiance
from equissl.renderers.scene import ViewArrays, ViewParameters, view_arrays
from equissl.renderers.shading import Views, per_sample, shade_floor, shade_object

_RAYS_PER_PASS = 65536  # arrays of this length still fit the second-level cache


@dataclass(frozen=True)
class RaycastOptions:
    """Options of the ``raycast`` renderer.

    Attributes:
        antialias: samples per pixel side: 1, 2 (2x2, close to Cycles' pixel filter) or 3.
        spot_samples: shadow rays per sample. 1: hard shadow from the lamp's centre; more: soft, from its disk of
            radius 0.25.
        view_transform: ``filmic`` (Blender's, as the data set) or ``standard`` (sRGB).
        sun_strength: irradiance of open ground by the sun.
        swap_red_blue: exchange red and blue as the files of the published data set do.
    """

    antialias: int = 1
    spot_samples: int = 1
    view_transform: str = "filmic"
    sun_strength: float = scene.SUN_IRRADIANCE
    swap_red_blue: bool = False

    def __post_init__(self) -> None:
        if self.antialias not in SUBPIXEL_OFFSETS:
            raise RendererError(f"expected antialias in {sorted(SUBPIXEL_OFFSETS)}, got {self.antialias!r}")
        if self.view_transform not in VIEW_TRANSFORMS:
            raise RendererError(f"expected view_transform in {VIEW_TRANSFORMS}, got {self.view_transform!r}")
        if not 1 <= self.spot_samples <= 256:
            raise RendererError(f"expected spot_samples in 1..256, got {self.spot_samples!r}")
        if not (math.isfinite(self.sun_strength) and self.sun_strength >= 0):
            raise RendererError(f"expected a finite sun_strength >= 0, got {self.sun_strength!r}")


@register_renderer("raycast")
class RaycastRenderer:
    """See the module; options are those of :class:`RaycastOptions`.

    The same mesh, view, size and options give the same bytes, whatever else is rendered in the same call.
    """

    name = "raycast"
    version = "raycast-1"

    def __init__(self, **options: Any) -> None:
        check_option_names(options, [f.name for f in fields(RaycastOptions)], self.name)
        self._options = RaycastOptions(**options)
        open3d_core()  # a missing library is found here, not at the first mesh
        self._traced: WeakKeyDictionary[Mesh, TracedMesh] = WeakKeyDictionary()

    @property
    def options(self) -> Mapping[str, Any]:
        return asdict(self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        # Embree scenes cannot be pickled; a worker process builds its own.
        return _unpickle, (self.options,)

    def render(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
        """All ``views`` of one mesh.

        Args:
            mesh: object with its centre at the origin; drawn at its own scale.
            views: V scene parameters.
            size: image width and height in pixels, at least 8.

        Returns:
            uint8 (V, size, size, 3), first row at the top; true RGB unless ``swap_red_blue`` is set.

        Raises:
            RendererError: for an empty or broken mesh, a view that is not finite, or a bad size.
        """
        if not isinstance(size, (int, np.integer)) or size < 8:
            raise RendererError(f"expected an image size of at least 8 pixels, got {size!r}")
        arrays = view_arrays(views)
        traced = self._trace(mesh)
        grid = pixel_grid(int(size), self._options.antialias)
        images = np.empty((len(arrays), grid.pixels, 3), np.uint8)
        step = max(1, _RAYS_PER_PASS // (grid.pixels * grid.samples))
        for start in range(0, len(arrays), step):
            part = slice(start, start + step)
            _render_pass(traced, grid, arrays[part], self._options, images[part])
        if self._options.swap_red_blue:
            images = images[..., ::-1]
        return np.ascontiguousarray(images).reshape(len(arrays), size, size, 3)

    def _trace(self, mesh: Mesh) -> TracedMesh:
        if mesh not in self._traced:
            self._traced.clear()  # one at a time: data sets hold thousands
            self._traced[mesh] = TracedMesh(mesh)
        return self._traced[mesh]


def _unpickle(options: Mapping[str, Any]) -> RaycastRenderer:
    return RaycastRenderer(**options)


def _render_pass(
    mesh: TracedMesh, grid: PixelGrid, arrays: ViewArrays, options: RaycastOptions, out: np.ndarray
) -> None:
    """Render a few views at once into ``out`` (V, P, 3)."""
    views = Views(arrays, grid)
    objects = shade_object(mesh, views, options)
    spot = shade_floor(mesh, views, objects.covered, options)
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
