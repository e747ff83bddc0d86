"""Files that are whole at every moment: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends without an error.

    A reader sees the old file or the new one, never half of it. An error in the block removes the temporary file.

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
        temporary.unlink(missing_ok=True)
        raise


def temporary_path(path: Path) -> Path:
    """Where a file is written before it takes the place of ``path``: one name for each process of each machine."""
    return path.with_name(f"{path.name}.tmp-{platform.node()}-{os.getpid()}")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, tree: Any, sort_keys: bool = False) -> Path:
    """Write an indented JSON file atomically.

    Raises:
        ValueError: for NaN or infinite numbers, which JSON does not have.
    """
    return write_text(path, json.dumps(tree, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) + "\n")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
