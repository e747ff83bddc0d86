"""Images with the number of pixels in which each shows its object: near-empty views are found while they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from equissl.renderers.base import Renderer
from equissl.renderers.camera import pixel_grid
from equissl.renderers.scene import ViewParameters, view_arrays
from equissl.renderers.surface import visible_surface
from equissl.renderers.traced_mesh import TracedMesh
from equissl.renderers.views import Views

if TYPE_CHECKING:
    from equissl.datasets.meshes.mesh import Mesh

_SAMPLES = 2  # on each side of a pixel, where rays of our own count


class Rendering(NamedTuple):
    """V views of a mesh.

    Attributes:
        images: uint8 (V, size, size, 3), as :meth:`Renderer.render` gives them.
        object_pixels: (V,) pixels that show the object in one sample at least.
    """

    images: np.ndarray
    object_pixels: np.ndarray


@runtime_checkable
class PixelCounter(Protocol):
    """Renderer that counts the object's pixels as it draws."""

    def render_counted(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> Rendering:
        """Render as :meth:`Renderer.render` does, and count.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        ...


def render_counted(renderer: Renderer, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> Rendering:
    """Render views and count the object's pixels; with rays of our own where the renderer does not count.

    Args:
        renderer: draws the images.
        mesh: to render.
        views: V.
        size: size of the images, in pixels.
    """
    if isinstance(renderer, PixelCounter):
        return renderer.render_counted(mesh, views, size)
    return Rendering(renderer.render(mesh, views, size), count_object_pixels(mesh, views, size))


def count_object_pixels(mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
    """Count the pixels (V,) of the scene's camera that show the object, by rays through 2x2 samples of each.

    Args:
        mesh: object with its centre at the origin.
        views: V.
        size: size of the images, in pixels.
    """
    traced, grid, arrays = TracedMesh(mesh), pixel_grid(size, _SAMPLES), view_arrays(views)
    counts = np.zeros(len(arrays), np.int64)
    for number in range(len(arrays)):
        surface = visible_surface(traced, Views(arrays[number : number + 1], grid))
        counts[number] = len(np.unique(surface.pixel))
    return counts
