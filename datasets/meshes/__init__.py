"""Labelled meshes from a Debian package, a folder or a generator, normalised as 3DIEBench's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from equissl.datasets.meshes.folder import FolderSource
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.modelnet import ModelNetSource
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.objaverse import ObjaverseSource
from equissl.datasets.meshes.procedural import PROCEDURAL_CLASSES, ProceduralSource
from equissl.datasets.meshes.shapenet import ShapeNetSource
from equissl.datasets.meshes.shapes_labelled import ShapesLabelledSource
from equissl.datasets.meshes.source import (
    Joined,
    MeshEntry,
    MeshSource,
    MeshSourceError,
    OfClasses,
    Subset,
    balanced_subset,
    choose_classes,
)
from equissl.datasets.meshes.sweethome3d import SweetHome3DSource, install_sweethome3d, sweethome3d_available
from equissl.datasets.meshes.trees import MESH_SOURCES, find_source, make_source, split_spec
from equissl.util.registry import accepted

__all__ = [
    "MESH_SOURCES",
    "PROCEDURAL_CLASSES",
    "FolderSource",
    "Joined",
    "Material",
    "Mesh",
    "MeshEntry",
    "MeshError",
    "MeshLimits",
    "MeshSource",
    "MeshSourceError",
    "ModelNetSource",
    "ObjaverseSource",
    "ProceduralSource",
    "ShapeNetSource",
    "ShapesLabelledSource",
    "Subset",
    "SweetHome3DSource",
    "balanced_subset",
    "get_mesh_source",
    "install_sweethome3d",
    "sweethome3d_available",
]


def get_mesh_source(
    spec: str,
    num_objects: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    *,
    min_per_class: int = 10,
    up: Up | None = None,
    limits: MeshLimits | None = None,
) -> MeshSource:
    """Make a source from its specification.

    Args:
        spec: ``"sweethome3d"``, ``"procedural"``, a folder, the import path of a class, or several joined by ``+``. The
            kind of a folder (ShapeNet, ModelNet, Objaverse, a labelled collection, or plain ``CLASS/FILE``) is found by
            a look at it; ``"shapenet:FOLDER"`` says it, see :func:`equissl.datasets.meshes.trees.find_source`.
        num_objects: How many in all. Of a finite source a seeded choice with equal class counts, or all by default.
            ``procedural`` makes as many as asked, its classes in turn. Joined sources are filled from the left: each
            gives what it has, the next what is still missing.
        seed: Of the choice and of the procedural shapes.
        classes: Only these; of joined sources each gives those it has.
        min_per_class: For ``sweethome3d``.
        up: Axis that points up in the files of folders, x, y or z; see :class:`FolderSource`.
        limits: What one mesh of a folder may cost.

    Raises:
        MeshSourceError: For a source that is absent, a class that does not exist, no objects, or fewer than asked for;
            for ``up`` where no source has files.
    """
    if num_objects is not None and num_objects < 1:
        raise MeshSourceError(f"the number of objects must be at least 1, got {num_objects}")
    if up is not None and not any(accepted(find_source(part)[0], {"up": up}) for part in split_spec(spec)):
        raise MeshSourceError(f"up is for folders of mesh files, got up={up} with {spec}")
    parts = [_Part.find(part, min_per_class=min_per_class, up=up, limits=limits) for part in split_spec(spec)]
    wanted = choose_classes(sorted({name for part in parts for name in part.classes}), classes, spec)
    sources, missing = [], num_objects
    for part in parts:
        source = part.take(wanted, missing, seed, spec)
        if source is not None:
            sources.append(source)
            missing = None if missing is None else missing - len(source)
    if missing:
        there = sum(len(source) for source in sources)
        raise MeshSourceError(f"{num_objects} objects asked for, but {spec} has {there}")
    return sources[0] if len(parts) == 1 else Joined(sources, wanted)


@dataclass(frozen=True)
class _Part:
    """One of the sources that a specification joins.

    Attributes:
        classes: that it has.
        source: its objects; None where it has no end.
        make: makes as many objects as asked, where it has no end.
    """

    classes: tuple[str, ...]
    source: MeshSource | None
    make: Callable[..., MeshSource]

    @classmethod
    def find(cls, spec: str, **settings: Any) -> _Part:
        make = find_source(spec)[0]
        if endless := getattr(make, "endless", None):
            return cls(tuple(endless), None, make)
        source = make_source(spec, **settings)
        return cls(source.classes, source, make)

    def take(self, wanted: Sequence[str], missing: int | None, seed: int, spec: str) -> MeshSource | None:
        """Return objects of the wanted classes, at most ``missing``; None for nothing."""
        mine = [name for name in self.classes if name in wanted]
        if missing == 0 or not mine:
            return None
        if self.source is None:
            if missing is None:
                raise MeshSourceError(f"{spec!r} has no end: say how many objects")
            return self.make(missing, seed, mine)
        source = self.source if len(mine) == len(self.classes) else OfClasses(self.source, mine)
        return source if missing is None else balanced_subset(source, min(missing, len(source)), seed)
