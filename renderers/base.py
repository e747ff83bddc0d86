"""Interface of rendering backends, and the registry that finds one by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from equissl.util.registry import Registry

if TYPE_CHECKING:
    from equissl.datasets.meshes.mesh import Mesh
    from equissl.renderers.scene import ViewParameters


class RendererError(Exception):
    """A renderer that cannot start, or that was given something it cannot draw."""


class Renderer(Protocol):
    """A rendering backend.

    Attributes:
        name: Registry name.
        version: Changes whenever the same input may give other pixels; stored with every data set.
    """

    name: str
    version: str

    @property
    def options(self) -> Mapping[str, Any]:
        """Every option with its value, as plain numbers, strings and booleans."""
        ...

    def render(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
        """Render all ``views`` of one mesh: uint8 (V, size, size, 3), true RGB, first row at the top.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        ...


RENDERERS: Registry[Callable[..., Renderer]] = Registry(
    "renderer",
    {
        "blender": "equissl.renderers.blender:BlenderRenderer",
        "pytorch3d": "equissl.renderers.pytorch3d_renderer:Pytorch3dRenderer",
        "raycast": "equissl.renderers.raycast:RaycastRenderer",
        "warp": "equissl.renderers.warp_renderer:WarpRenderer",
    },
    group="equissl.renderers",
    base=Renderer,
    error=RendererError,
)


def get_renderer(name: str, **options: Any) -> Renderer:
    """Set up a backend.

    Args:
        name: one of :data:`RENDERERS`, or the import path of a class that offers what `Renderer` says.
        **options: of the backend.

    Raises:
        RendererError: for an unknown name or option, with the nearest match; or when the backend's libraries are
            missing.
    """
    return RENDERERS[name](**options)
