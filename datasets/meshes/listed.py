"""Base of the sources that list the mesh files of a tree: entries, classes, decoding and messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from equissl.datasets.meshes.cache import cached_mesh
from equissl.datasets.meshes.files import Files, FolderFiles
from equissl.datasets.meshes.formats import DEFAULT_UP, read_mesh
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.normalise import TO_Z_UP, Up, normalise_mesh, rotate_mesh
from equissl.datasets.meshes.source import MeshEntry, MeshSourceError
from equissl.util.files import describe_folder


class Listed(NamedTuple):
    """One mesh file.

    Attributes:
        path: relative to the tree, POSIX.
        identifier: the object's name in its class.
        class_name: one of the source's classes.
        split: as :class:`MeshEntry`'s.
        licence, creator: as the tree states them.
    """

    path: str
    identifier: str
    class_name: str
    split: int | None = None
    licence: str = ""
    creator: str = ""


class ListedSource(ABC):
    """Meshes of a tree of files.

    Args:
        root: The tree.
        items: Its meshes.
        order: The classes in the order of their labels.
        up: The files' up axis; by default :data:`DEFAULT_UP` of the extension. A y-up file is turned as Blender's
            importer does, (x, y, z) -> (x, -z, y), so that ShapeNet's models come out as in 3DIEBench; see
            :data:`~equissl.datasets.meshes.normalise.TO_Z_UP`.
        limits: On one mesh.
        files: Where the bytes come from; by default the folder itself.
        notes: What the user should know of the tree, one sentence each.
    """

    name: str
    #: The tree as a user should find it, for messages.
    expected: str

    def __init__(
        self,
        root: Path | str,
        items: Iterable[Listed],
        order: Sequence[str],
        up: Up | None = None,
        limits: MeshLimits | None = None,
        files: Files | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if up not in (None, *get_args(Up)):
            raise MeshSourceError(f"expected up to be one of {', '.join(get_args(Up))}, got {up!r}")
        self.root, self.up, self.limits = Path(root), up, limits or MeshLimits()
        self._items, self.classes, self.notes = tuple(items), tuple(order), tuple(notes)
        if not self._items:
            raise wrong_tree(type(self), self.root, "no meshes")
        self._files = files or FolderFiles(self.root)

    @classmethod
    @abstractmethod
    def matches(cls, root: Path) -> bool:
        """Return True if a folder looks like such a tree; a quick look only."""

    def __len__(self) -> int:
        return len(self._items)

    def entry(self, index: int) -> MeshEntry:
        item = self._items[index]
        label = self.classes.index(item.class_name)
        return MeshEntry(self.object_name(item), label, self.name, item.licence, item.creator, item.split)

    def object_name(self, item: Listed) -> str:
        """``CLASS/ID``, unique in the source."""
        return f"{item.class_name}/{item.identifier}"

    def turn(self, path: str) -> np.ndarray | None:
        """Compute the rotation (3, 3) from the file's frame to z up, front along +y; None for none."""
        return TO_Z_UP[self.up or DEFAULT_UP[path.rsplit(".", 1)[-1].lower()]]

    def load(self, index: int) -> Mesh:
        path, name = self._items[index].path, self.entry(index).name
        turn = self.turn(path)

        def decode(files: Files) -> Mesh:
            # numbers out of range are found by the checks of `normalise_mesh`
            with self.limits.decoding(name), np.errstate(over="ignore", invalid="ignore"):
                mesh = read_mesh(files, path, name)
                return normalise_mesh(mesh if turn is None else rotate_mesh(mesh, turn))

        try:
            self.limits.check_size(self._files, path, name)
            mesh = cached_mesh(self._files, path, name, f"turn={None if turn is None else turn.tolist()}", decode)
        except OSError as error:
            raise MeshError(f"{name}: cannot be read: {error}") from error
        self.limits.check_faces(mesh)
        return mesh


def wrong_tree(kind: type[ListedSource], root: Path, problem: str) -> MeshSourceError:
    """Create an error that shows the tree expected beside what ``root`` holds.

    Args:
        kind: kind of the source.
        root: the folder.
        problem: what is missing.
    """
    return MeshSourceError(
        f"{problem} in {root} as {kind.name}\nexpected:\n{kind.expected}\nfound in {root}:\n{describe_folder(root)}"
    )
