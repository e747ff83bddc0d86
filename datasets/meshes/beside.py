"""Files that a mesh file names: material libraries and textures."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.text import spellings


def find_beside(files: Files, folder: str, name: str) -> tuple[str, bytes] | None:
    """Find a file by the name that another file gives it; None where there is none.

    Backslashes are slashes, and quotes and a comment behind the name are not part of it. Of a path that leads nowhere,
    as those of the author's own machine, ever shorter ends are looked for: ``C:/work/maps/a.png``, ``maps/a.png``,
    ``a.png``.

    Args:
        files: Where both files lie; nothing outside is read.
        folder: Folder of the file that holds the name.
        name: The name in it.

    Returns:
        The path in ``files`` and the bytes.
    """
    for path in dict.fromkeys(_candidates(folder, name)):
        if not path.startswith(("..", "/")) and (data := files.read(path)) is not None:
            return path, data
    return None


def _candidates(folder: str, name: str) -> Iterator[str]:
    for spelling in spellings(name):
        spelling = spelling.strip().strip("\"'").replace("\\", "/")
        parts = [part for part in spelling.split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            yield posixpath.normpath(posixpath.join(folder, *parts[start:]))
