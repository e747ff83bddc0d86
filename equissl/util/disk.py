"""Whole files or none, and clear words when the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def reserve(descriptor: int, start: int, size: int) -> None:
    """Takes the disk space of a blob now, where the file system can; else it is found missing while writing."""
    try:
        os.posix_fallocate(descriptor, start, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


@contextmanager
def full_disk_message(path: Path, needed: int) -> Iterator[None]:
    """Turns any form of "disk full" into one that says how much was needed and how much is free."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and "No space left" not in str(error):
            raise
        raise disk_full(path, needed) from error


def disk_full(path: Path, needed: int) -> OSError:
    free = shutil.disk_usage(path.parent).free
    text = f"disk full: {needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free in {path.parent}"
    return OSError(errno.ENOSPC, text, str(path))


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
