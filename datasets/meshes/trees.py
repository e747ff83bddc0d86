"""Detection of the kind of a folder of meshes, by its name or by a look at it."""

from __future__ import annotations

import os
from pathlib import Path

from equissl.datasets.meshes.folder import FolderSource
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import ListedSource, Up
from equissl.datasets.meshes.modelnet import ModelNetSource
from equissl.datasets.meshes.objaverse import ObjaverseSource
from equissl.datasets.meshes.shapenet import ShapeNetSource
from equissl.datasets.meshes.shapes_labelled import ShapesLabelledSource
from equissl.datasets.meshes.source import MeshSourceError

#: In the order in which a folder is looked at; the last takes every folder.
TREES: tuple[type[ListedSource], ...] = (
    ShapesLabelledSource,
    ShapeNetSource,
    ModelNetSource,
    ObjaverseSource,
    FolderSource,
)
_BY_NAME = {tree.name: tree for tree in TREES}


def split_spec(spec: str) -> list[str]:
    """Split at ``+`` into sources; an existing folder may have a plus in its name."""
    if Path(_named(spec)[1]).is_dir():
        return [spec]
    return [part.strip() for part in spec.split("+")]


def open_tree(spec: str, up: Up | None = None, limits: MeshLimits | None = None) -> ListedSource:
    """Open the source of a folder.

    Args:
        spec: ``FOLDER``, whose kind is found by a look at it; ``KIND:FOLDER``; or ``KIND`` alone, for the folder in the
            environment variable ``EQUISSL_KIND``.
        up: Of the files; by default as the kind says.
        limits: On one mesh.

    Raises:
        MeshSourceError: For an unknown kind, and for a folder that is not such a tree: what was expected and found.
    """
    kind, folder = _named(spec)
    if kind is None:
        if not Path(folder).is_dir() and "/" not in folder:
            known = f"sweethome3d, procedural, {', '.join(_BY_NAME)} (or KIND:FOLDER)"
            raise MeshSourceError(f"expected a source of {known} or an existing folder, got {spec!r}")
        kind = next((tree.name for tree in TREES if tree.matches(Path(folder))), FolderSource.name)
    if not folder:
        raise MeshSourceError(f"expected {kind}:FOLDER, or the folder in ${_variable(kind)}, got {spec!r} alone")
    return _BY_NAME[kind](folder, up=up, limits=limits)  # type: ignore[call-arg]


def _named(spec: str) -> tuple[str | None, str]:
    """Kind, None where the spec has none, and folder."""
    kind, colon, folder = spec.partition(":")
    if kind not in _BY_NAME or Path(spec).is_dir():
        return None, spec
    return kind, folder if colon else os.environ.get(_variable(kind), "")


def _variable(kind: str) -> str:
    return f"EQUISSL_{kind.upper()}"
