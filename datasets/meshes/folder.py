"""A folder of mesh files sorted into one subfolder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.datasets.meshes.formats import DEFAULT_UP
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import Listed, ListedSource
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.source import MeshSourceError, choose_classes
from equissl.datasets.meshes.unread import describe_unread
from equissl.util.listing import entries, files_below

_EXPECTED = f"expected FOLDER/CLASS/FILE or FOLDER/CLASS/.../FILE with files of {', '.join(DEFAULT_UP)}"


class FolderSource(ListedSource):
    """Meshes of ``root/CLASS/**/FILE.{obj,off,glb,gltf,ply,stl}``; the class is the first folder's name.

    Args:
        root: The folder.
        classes: Only these; all by default.
        up: The files' up axis. By default y for obj, glb and gltf, z for off, ply and stl.
        licence, creator: Kept with every entry.
        limits: On one mesh.

    Raises:
        MeshSourceError: If the folder does not exist or holds no mesh file where one is expected; says what it found.
    """

    name = "folder"
    expected = f"  FOLDER/CLASS/FILE or FOLDER/CLASS/.../FILE with files of {', '.join(DEFAULT_UP)}"

    def __init__(
        self,
        root: Path | str,
        classes: Sequence[str] | None = None,
        up: Up | None = None,
        licence: str = "",
        creator: str = "",
        limits: MeshLimits | None = None,
    ) -> None:
        files = _list_files(Path(root))
        split = [path.split("/", 1) for path in _find_meshes(Path(root), files)]
        order = choose_classes(sorted({name for name, _ in split}), classes, str(root))
        items = (Listed(f"{name}/{rest}", rest, name, None, licence, creator) for name, rest in split if name in order)
        notes = describe_unread(Path(root), files, DEFAULT_UP)
        super().__init__(root, items, order, up, limits, notes=notes)

    @classmethod
    def matches(cls, root: Path) -> bool:
        return root.is_dir()


def _list_files(root: Path) -> list[Path]:
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise MeshSourceError(f"mesh folder {root} {what}; {_EXPECTED}")
    return list(files_below(root))


def _find_meshes(root: Path, files: list[Path]) -> list[str]:
    """Relative POSIX paths of all mesh files at least one folder deep, sorted."""
    meshes = [p for p in files if p.suffix.lower().lstrip(".") in DEFAULT_UP]
    found = sorted(p.relative_to(root).as_posix() for p in meshes if p.parent != root)
    if not found:
        loose = f"{len(meshes)} mesh files directly in it" if meshes else "no mesh file"
        names = [p.name + "/" * p.is_dir() for p in entries(root)]
        listing = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        unread = "".join(f"; {note}" for note in describe_unread(root, files, DEFAULT_UP))
        raise MeshSourceError(f"no objects in {root}; {_EXPECTED}; found {loose} among: {listing or 'nothing'}{unread}")
    return found
