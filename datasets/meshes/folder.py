"""A folder of mesh files sorted into one subfolder per class."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from equissl.datasets.meshes.cache import cached_mesh
from equissl.datasets.meshes.files import Files, FolderFiles
from equissl.datasets.meshes.formats import DEFAULT_UP, read_mesh
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.normalise import Y_UP_TO_Z_UP, normalise_mesh, rotate_mesh
from equissl.datasets.meshes.source import MeshEntry, MeshSourceError, choose_classes

_EXPECTED = f"expected FOLDER/CLASS/FILE or FOLDER/CLASS/.../FILE with files of {', '.join(DEFAULT_UP)}"


class FolderSource:
    """Meshes of ``root/CLASS/**/FILE.{obj,off,glb,ply,stl}``; the class is the first folder's name.

    Args:
        root: The folder.
        classes: Only these; all by default.
        up: The files' up axis. By default y for obj and glb, z for off, ply and stl. A y-up file is turned as Blender's
            importer does, (x, y, z) -> (x, -z, y), so that ShapeNet's models come out as in 3DIEBench.
        licence, creator: Kept with every entry.

    Raises:
        MeshSourceError: If the folder does not exist or holds no mesh file where one is expected; says what it found.
    """

    name = "folder"

    def __init__(
        self,
        root: Path | str,
        classes: Sequence[str] | None = None,
        up: Literal["y", "z"] | None = None,
        licence: str = "",
        creator: str = "",
    ) -> None:
        if up not in (None, "y", "z"):
            raise MeshSourceError(f"up must be 'y' or 'z', got {up!r}")
        self.root, self.up, self.licence, self.creator = Path(root), up, licence, creator
        self._paths = _find_files(self.root)
        self._files = FolderFiles(self.root)
        self.classes = tuple(sorted({path.split("/")[0] for path in self._paths}))
        self._keep(choose_classes(self.classes, classes, str(root)))

    def _keep(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._paths = [path for path in self._paths if path.split("/")[0] in classes]

    def restricted(self, classes: Sequence[str]) -> FolderSource:
        """The same source with only these classes."""
        chosen = copy.copy(self)
        chosen._keep(choose_classes(self.classes, classes, str(self.root)))
        return chosen

    def __len__(self) -> int:
        return len(self._paths)

    def entry(self, index: int) -> MeshEntry:
        path = self._paths[index]
        label = self.classes.index(path.split("/")[0])
        return MeshEntry(path, label, self.name, self.licence, self.creator)

    def load(self, index: int) -> Mesh:
        path = self._paths[index]
        up = self.up or DEFAULT_UP[path.rsplit(".", 1)[-1].lower()]

        def decode(files: Files) -> Mesh:
            mesh = read_mesh(files, path, path)
            return normalise_mesh(rotate_mesh(mesh, Y_UP_TO_Z_UP) if up == "y" else mesh)

        try:
            return cached_mesh(self._files, path, path, f"up={up}", decode)
        except OSError as error:
            raise MeshError(f"{path}: cannot be read: {error}") from error


def _find_files(root: Path) -> list[str]:
    """Relative POSIX paths of all mesh files at least one folder deep, sorted."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise MeshSourceError(f"mesh folder {root} {what}; {_EXPECTED}")
    meshes = [p for p in root.rglob("*") if p.suffix.lower().lstrip(".") in DEFAULT_UP and p.is_file()]
    found = sorted(p.relative_to(root).as_posix() for p in meshes if p.parent != root)
    if not found:
        loose = f"{len(meshes)} mesh files directly in it" if meshes else "no mesh file"
        names = sorted(p.name + "/" * p.is_dir() for p in root.iterdir())
        listing = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise MeshSourceError(f"no objects in {root}; {_EXPECTED}; found {loose} among: {listing or 'nothing'}")
    return found
