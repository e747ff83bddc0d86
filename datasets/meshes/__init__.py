"""Labelled meshes from a Debian package, a folder or a generator, normalised as 3DIEBench's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equissl.datasets.meshes.folder import FolderSource
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import ListedSource
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.modelnet import ModelNetSource
from equissl.datasets.meshes.objaverse import ObjaverseSource
from equissl.datasets.meshes.procedural import PROCEDURAL_CLASSES, ProceduralSource
from equissl.datasets.meshes.shapenet import ShapeNetSource
from equissl.datasets.meshes.shapes_labelled import ShapesLabelledSource
from equissl.datasets.meshes.source import (
    Joined,
    MeshEntry,
    MeshSource,
    MeshSourceError,
    Subset,
    balanced_subset,
    choose_classes,
)
from equissl.datasets.meshes.sweethome3d import SweetHome3DSource, install_sweethome3d, sweethome3d_available
from equissl.datasets.meshes.trees import open_tree, split_spec

__all__ = [
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
    up: Any = None,
    sweethome3d_root: Path | str | None = None,
    limits: MeshLimits | None = None,
) -> MeshSource:
    """Make a source from its specification.

    Args:
        spec: ``"sweethome3d"``, ``"procedural"``, a folder, or several joined by ``+``. The kind of a folder (ShapeNet,
            ModelNet, Objaverse, a labelled collection, or plain ``CLASS/FILE``) is found by a look at it;
            ``"shapenet:FOLDER"`` says it, see :func:`equissl.datasets.meshes.trees.open_tree`.
        num_objects: How many in all. Of a finite source a seeded choice with equal class counts, or all by default.
            ``procedural`` makes as many as asked, its classes in turn. Joined sources are filled from the left: each
            gives what it has, the next what is still missing.
        seed: Of the choice and of the procedural shapes.
        classes: Only these; of joined sources each gives those it has.
        min_per_class: For ``sweethome3d``.
        up: For folders, see :class:`FolderSource`.
        sweethome3d_root: Folder of the archives.
        limits: What one mesh of a folder may cost.

    Raises:
        MeshSourceError: For a source that is absent, a class that does not exist, no objects, or fewer than asked for.
    """
    if num_objects is not None and num_objects < 1:
        raise MeshSourceError(f"the number of objects must be at least 1, got {num_objects}")
    parts = split_spec(spec)
    finite = [_finite(part, min_per_class, up, sweethome3d_root, limits) for part in parts]
    names = {name for part in finite for name in (part.classes if part else PROCEDURAL_CLASSES)}
    wanted = choose_classes(sorted(names), classes, spec)
    sources, missing = [], num_objects
    for part in finite:
        source = _take(part, wanted, missing, seed, spec)
        if source is not None:
            sources.append(source)
            missing = None if missing is None else missing - len(source)
    if missing:
        there = sum(len(source) for source in sources)
        raise MeshSourceError(f"{num_objects} objects asked for, but {spec} has {there}")
    return sources[0] if len(parts) == 1 else Joined(sources, wanted)


def _finite(
    part: str, min_per_class: int, up: Any, root: Path | str | None, limits: MeshLimits | None
) -> SweetHome3DSource | ListedSource | None:
    """The source of one name; None for the endless one."""
    if part == "procedural":
        return None
    if part == "sweethome3d":
        return SweetHome3DSource(None, min_per_class, root)
    return open_tree(part, up, limits)


def _take(
    part: SweetHome3DSource | ListedSource | None, wanted: Sequence[str], missing: int | None, seed: int, spec: str
) -> MeshSource | None:
    """What one source gives of the wanted classes, at most ``missing``; None for nothing."""
    if missing == 0:
        return None
    if part is None:
        mine = [c for c in PROCEDURAL_CLASSES if c in wanted]
        if missing is None:
            raise MeshSourceError(f"{spec!r} has no end: say how many objects")
        return ProceduralSource(missing, seed, mine) if mine else None
    mine = [c for c in part.classes if c in wanted]
    if not mine:
        return None
    part = part.restricted(mine)
    return part if missing is None else balanced_subset(part, min(missing, len(part)), seed)
