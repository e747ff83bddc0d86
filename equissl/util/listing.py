"""Listing of folders, without what file systems, archivers and editors leave in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: Lower case. Hidden names, as ``._NAME`` (macOS), ``.ipynb_checkpoints`` and ``.Trash-0``, and ``~$NAME`` (Office) are
#: told by their beginnings.
_LEFTOVERS = {
    "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot",
}  # fmt: skip


def is_leftover(name: str) -> bool:
    """Tell what no user put there: hidden files and folders, copies of editors, files of systems and archivers."""
    return name.startswith((".", "~$")) or name.endswith("~") or name.lower() in _LEFTOVERS


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """List what a folder holds, sorted, without leftovers at any depth.

    Args:
        folder: to list; nothing is found in one that does not exist.
        pattern: of :meth:`pathlib.Path.glob`, of names relative to the folder; ``*/`` is folders alone.
    """
    return sorted(_entries(folder, pattern))


def _entries(folder: Path, pattern: str) -> Iterator[Path]:
    if folder.is_dir():
        found = folder.glob(pattern)
        yield from (path for path in found if not any(map(is_leftover, path.relative_to(folder).parts)))


def holds(folder: Path, pattern: str) -> bool:
    """Return True if a folder holds an entry that is no leftover; stops at the first.

    Args:
        folder: to look in.
        pattern: see :func:`entries`.
    """
    return next(_entries(folder, pattern), None) is not None


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without leftovers."""
    return [path for path in entries(folder) if path.is_dir()]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files at any depth below a folder, sorted, without leftovers; linked folders are followed."""
    yield from _files_below(folder, frozenset())


def _files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    if (real := folder.resolve()) in above:
        return  # a link to a folder that it lies in
    for path in entries(folder):
        if path.is_dir():
            yield from _files_below(path, above | {real})
        elif path.is_file():
            yield path
