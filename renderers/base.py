"""Interface of the rendering backends, and the registry that finds one by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

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


_RENDERERS: dict[str, Callable[..., Renderer]] = {}
# Backends that not everyone has: the module that registers one is imported when it is asked for.
_MODULES = {
    "blender": "equissl.renderers.blender",
    "pytorch3d": "equissl.renderers.pytorch3d_renderer",
    "warp": "equissl.renderers.warp_renderer",
}
_Factory = TypeVar("_Factory", bound=Callable[..., Any])


def register_renderer(name: str) -> Callable[[_Factory], _Factory]:
    """Return a class decorator that makes a backend available as ``get_renderer(name, **options)``."""

    def register(factory: _Factory) -> _Factory:
        if name in _RENDERERS and _RENDERERS[name] is not factory:
            raise ValueError(f"a renderer called {name!r} is registered already: {_RENDERERS[name]!r}")
        _RENDERERS[name] = factory
        return factory

    return register


def renderer_names() -> tuple[str, ...]:
    """Return the names that :func:`get_renderer` knows."""
    return tuple(sorted({*_RENDERERS, *_MODULES}))


def get_renderer(name: str, **options: Any) -> Renderer:
    """Create the backend called ``name``, set up with ``options``.

    Args:
        name: name of the backend.
        **options: options of the backend.

    Raises:
        RendererError: for an unknown name or option, with the nearest match; or when the backend's libraries are
            missing.
    """
    if name not in _RENDERERS and name in _MODULES:
        importlib.import_module(_MODULES[name])
    if name not in _RENDERERS:
        raise RendererError(
            f"unknown renderer {name!r}{_nearest(name, renderer_names())}; known: {list(renderer_names())}"
        )
    return _RENDERERS[name](**options)


def check_option_names(given: Mapping[str, Any], known: Sequence[str], renderer: str) -> None:
    """Refuse option names that the backend does not have.

    Args:
        given: options.
        known: names of the backend's.
        renderer: name, for the message.

    Raises:
        RendererError: naming the first unknown option and the nearest known one.
    """
    for name in given:
        if name not in known:
            raise RendererError(
                f"renderer {renderer!r} has no option {name!r}{_nearest(name, known)}; its options: {sorted(known)}"
            )


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
