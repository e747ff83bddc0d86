"""Mesh sources by name, and the kind of a folder of meshes found by a look at it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from equissl.datasets.meshes.source import MeshSource, MeshSourceError
from equissl.util.registry import Registry, accepted, did_you_mean, is_import_path

#: Folders are looked at in this order.
MESH_SOURCES: Registry[Callable[..., MeshSource]] = Registry(
    "mesh source",
    {
        "sweethome3d": "equissl.datasets.meshes.sweethome3d:SweetHome3DSource",
        "procedural": "equissl.datasets.meshes.procedural:ProceduralSource",
        "shapes_labelled": "equissl.datasets.meshes.shapes_labelled:ShapesLabelledSource",
        "shapenet": "equissl.datasets.meshes.shapenet:ShapeNetSource",
        "modelnet": "equissl.datasets.meshes.modelnet:ModelNetSource",
        "objaverse": "equissl.datasets.meshes.objaverse:ObjaverseSource",
        "folder": "equissl.datasets.meshes.folder:FolderSource",
    },
    group="equissl.mesh_sources",
    base=MeshSource,
    error=MeshSourceError,
)
ANY_FOLDER = "folder"  # the source of folders that no other takes for its own


def split_spec(spec: str) -> list[str]:
    """Split the sources joined by ``+``; an existing folder may have a plus in its name."""
    if Path(_named(spec)[1]).is_dir():
        return [spec]
    return [part.strip() for part in spec.split("+")]


def find_source(spec: str) -> tuple[Callable[..., MeshSource], dict[str, Any]]:
    """Find the class of one source, and its folder as the argument ``root``.

    Args:
        spec: ``FOLDER``, whose kind is found by a look at it; ``KIND:FOLDER``; or ``KIND`` alone, for a source without
            a folder or the folder in the environment variable ``EQUISSL_KIND``. A kind is one of :data:`MESH_SOURCES`
            or an import path, ``package.module.Class`` or ``package.module:Class``.

    Raises:
        MeshSourceError: for an unknown kind, a kind without its folder, or a folder of one that has none.
    """
    kind, folder = _named(spec)
    if kind is None:
        return MESH_SOURCES[_kind_of(spec)], {"root": spec}
    source = MESH_SOURCES[kind]
    root = inspect.signature(source).parameters.get("root")
    if folder and root is None:
        raise MeshSourceError(f"mesh source {kind!r} takes no folder, got {spec!r}")
    if not folder and root is not None and root.default is root.empty:
        raise MeshSourceError(f"expected {kind}:FOLDER, or the folder in ${_variable(kind)}, got {spec!r} alone")
    return source, {"root": folder} if folder else {}


def make_source(spec: str, **settings: Any) -> MeshSource:
    """Make one source.

    Args:
        spec: see :func:`find_source`.
        **settings: those that the source takes are handed on.

    Raises:
        MeshSourceError: see :func:`find_source`; and for a folder that is not such a tree: what was expected and found.
    """
    source, root = find_source(spec)
    return source(**root, **accepted(source, settings))


def _named(spec: str) -> tuple[str | None, str]:
    """Kind, None where the spec has none, and folder."""
    kind, _, folder = spec.partition(":")
    attribute, _, rest = folder.partition(":")
    if Path(spec).is_dir():
        return None, spec
    if kind in MESH_SOURCES:
        return kind, folder or os.environ.get(_variable(kind), "")
    if is_import_path(f"{kind}:{attribute}") and not Path(folder).is_dir():
        return f"{kind}:{attribute}", rest
    return (kind, folder) if is_import_path(kind) else (None, spec)


def _kind_of(folder: str) -> str:
    if not Path(folder).is_dir() and "/" not in folder:
        hint = did_you_mean(folder.partition(":")[0], MESH_SOURCES)
        known = f"{', '.join(MESH_SOURCES)}, an import path (or KIND:FOLDER)"
        raise MeshSourceError(f"expected a mesh source of {known} or an existing folder, got {folder!r}{hint}")
    trees = ((kind, getattr(source, "matches", None)) for kind, source in MESH_SOURCES.items() if kind != ANY_FOLDER)
    return next((kind for kind, matches in trees if matches and matches(Path(folder))), ANY_FOLDER)


def _variable(kind: str) -> str:
    return f"EQUISSL_{kind.upper()}"
