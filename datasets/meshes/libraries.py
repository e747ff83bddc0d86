"""Material libraries of an OBJ file, and the material of each name that its faces use."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from equissl.datasets.meshes.beside import find_beside
from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.mtl import read_mtl
from equissl.datasets.meshes.text import spellings

Found = tuple[str, bytes]  # path and bytes of a library


class Libraries:
    """Materials that the ``mtllib`` statements of a file name.

    Args:
        files: Where the file, its libraries and textures lie.
        path: The OBJ file's path in ``files``.
        statements: Arguments of ``mtllib``: a name, blanks in it allowed, or several.
        warnings: Grows by one sentence per finding.
    """

    def __init__(self, files: Files, path: str, statements: Sequence[str], warnings: list[str]) -> None:
        self.files, self.path, self.warnings = files, path, warnings
        self.materials: dict[str, Material] = {}
        self._read: set[str] = set()
        for statement in statements:
            for name, found in self._split(statement):
                self._add(name, found)

    def _split(self, statement: str) -> Iterator[tuple[str, Found | None]]:
        """Libraries of one statement: from the left, the most words that are the name of a file."""
        folder, words = posixpath.dirname(self.path), statement.split()
        while words:
            for count in range(len(words), 0, -1):
                if (found := find_beside(self.files, folder, " ".join(words[:count]))) is not None:
                    yield " ".join(words[:count]), found
                    break
            else:
                # the name ends with its extension, if any
                count = next((i for i, word in enumerate(words, 1) if word.lower().endswith(".mtl")), len(words))
                yield " ".join(words[:count]), None
            words = words[count:]
            if words and words[0].startswith("#"):
                return

    def _add(self, name: str, found: Found | None) -> None:
        if found is None:
            self.warnings.append(f"material library {name} is missing")
        elif found[0] not in self._read:
            self._read.add(found[0])
            self.materials |= read_mtl(self.files, *found, self.warnings)

    def choose(self, names: Sequence[str]) -> list[Material | None]:
        """Return the material of each name, None where it is not defined; of the empty name, a library's only one.

        A library of the OBJ file's own name is read where those named do not define all, as Blender's importer does.
        """
        if any(self._find(name) is None for name in names):
            own = posixpath.splitext(self.path)[0] + ".mtl"
            if (data := self.files.read(own)) is not None:
                defined = dict(self.materials)
                self._add(own, (own, data))
                self.materials |= defined
        chosen = [self._find(name) for name in names]
        for name, material in zip(names, chosen, strict=True):
            if material is None and name:
                self.warnings.append(f"material {name!r} is not defined; a plain one is used")
            elif material is None and self.materials:
                self.warnings.append("some faces name no material, and there are several: a plain one is used")
        return chosen

    def _find(self, name: str) -> Material | None:
        """Material of a name; one of the two spellings may have a comment behind it."""
        if not name:
            return next(iter(self.materials.values())) if len(self.materials) == 1 else None
        for spelling in spellings(name):
            if spelling in self.materials:
                return self.materials[spelling]
        alike = [key for key in self.materials if name in spellings(key)]
        return self.materials[alike[0]] if len(alike) == 1 else None
