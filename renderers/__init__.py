"""Renderers: a mesh and scene parameters in, 8-bit images out. One file per backend, found by name."""

from __future__ import annotations

from equissl.renderers.base import Renderer, RendererError, get_renderer, register_renderer, renderer_names
from equissl.renderers.raycast import RaycastOptions, RaycastRenderer
from equissl.renderers.scene import ViewParameters, view_parameters

__all__ = [
    "RaycastOptions",
    "RaycastRenderer",
    "Renderer",
    "RendererError",
    "ViewParameters",
    "get_renderer",
    "register_renderer",
    "renderer_names",
    "view_parameters",
]
