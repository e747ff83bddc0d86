"""Atomic writing of files: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import glob
import itertools
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_numbers = itertools.count()


@contextmanager
def atomic_path(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which takes its place when the block ends without an error.

    A reader sees the old file or the new one, never half of it. An error in the block removes the temporary file. A
    folder may be made in place of a file where ``path`` is free, or an empty folder.

    Args:
        path: the file to write; its folder is made where it is missing.
        sync: flush the file and the rename to the disk, so that both survive a power cut.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    except BaseException:
        _remove(temporary)
        raise


def temporary_path(path: Path) -> Path:
    """Return a path to write to before it replaces ``path``: another name at each call, on any machine."""
    return path.with_name(f"{path.name}.tmp-{platform.node()}-{os.getpid()}-{next(_numbers)}")


def remove_temporary(path: str | Path) -> None:
    """Remove what killed processes left half written beside ``path``; no other may be writing it now."""
    path = Path(path)
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        _remove(leftover)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically, in UTF-8.

    Args:
        path: of the file.
        text: its content.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, tree: Any, sort_keys: bool = False) -> Path:
    """Write an indented JSON file atomically.

    Args:
        path: of the file.
        tree: plain JSON values.
        sort_keys: True sorts the keys of dictionaries.

    Raises:
        ValueError: for NaN or infinite numbers, which JSON does not have.
    """
    return write_text(path, json.dumps(tree, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) + "\n")


def reserve(descriptor: int, start: int, size: int) -> None:
    """Take the disk space of a part of a file now, where the file system can; else it is found missing while writing.

    Args:
        descriptor: of the open file.
        start: first byte.
        size: number of bytes.

    Raises:
        OSError: the disk is full.
    """
    try:
        os.posix_fallocate(descriptor, start, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


@contextmanager
def full_disk_message(path: Path, needed: int) -> Iterator[None]:
    """Turn any form of "disk full" into one that says how much was needed and how much is free.

    Args:
        path: the file that is written in the block.
        needed: its bytes.

    Raises:
        OSError: ``ENOSPC``, in place of those of the block that mean the same.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL and "No space left" not in str(error):
            raise
        raise disk_full(path, needed) from error


def check_space(path: Path, needed: int) -> None:
    """Raise the error of a full disk where fewer than ``needed`` bytes are free for ``path``.

    Args:
        path: of the file to write; its folder exists.
        needed: bytes.
    """
    if shutil.disk_usage(path.parent).free < needed:
        raise disk_full(path, needed)


def disk_full(path: Path, needed: int) -> OSError:
    """Create the error of a full disk, with the bytes needed for ``path`` and those free.

    Args:
        path: of the file to write; its folder exists.
        needed: bytes.
    """
    free = shutil.disk_usage(path.parent).free
    text = f"disk full: {needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free in {path.parent}"
    return OSError(errno.ENOSPC, text, str(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_folder(folder: Path, limit: int = 8) -> str:
    """List the first entries of a folder, two levels deep.

    Args:
        folder: to list.
        limit: entries.
    """
    if not folder.is_dir():
        return "  a file" if folder.exists() else "  nothing: it does not exist"
    lines = []
    entries = sorted(folder.iterdir())
    for entry in entries[:limit]:
        inner = [e.name for e in sorted(entry.iterdir())[:3]] if entry.is_dir() else []
        lines.append(
            f"  {entry.name}{'/' if entry.is_dir() else ''}" + (f"  ({', '.join(inner)}, ...)" if inner else "")
        )
    if len(entries) > limit:
        lines.append(f"  ... and {len(entries) - limit} more")
    return "\n".join(lines) or "  nothing: it is empty"
