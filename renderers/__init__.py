"""Renderers: a mesh and scene parameters in, 8-bit images out. One file per backend, found by name."""

from __future__ import annotations

from equissl.renderers.base import RENDERERS, Renderer, RendererError, get_renderer
from equissl.renderers.counting import Rendering, render_counted
from equissl.renderers.raycast import RaycastOptions, RaycastRenderer
from equissl.renderers.scene import ViewParameters, view_parameters

__all__ = [
    "RENDERERS",
    "RaycastOptions",
    "RaycastRenderer",
    "Renderer",
    "RendererError",
    "Rendering",
    "ViewParameters",
    "get_renderer",
    "render_counted",
    "view_parameters",
]
