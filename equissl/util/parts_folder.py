"""Folder of unfinished work: its description, and the locks of the processes at work.

Parts live in ``OUT.parts`` until the finished file has its name. The folder carries the description of the work, so
that parts of other settings never mix, and locks, so that two processes never write one part.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from equissl.util.files import full_disk_message, remove_temporary, temporary_path
from equissl.util.job import WorkerError

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_SPEC, _LOCK = "spec.json", "lock"


class PartsError(RuntimeError):
    """Work that cannot start as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Share:
    """Every ``count``-th part of a job, from ``number`` on: the work of one job of an array."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Share:
        """Parse ``i/n``, counted from 0 or from 1: any n numbers in a row make the whole, since n/n is 0/n.

        Raises:
            ValueError: for anything else.
        """
        if text is None:
            return cls()
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 0 <= int(number) <= int(count) > 0):
            raise ValueError(f"expected shard to be i/n with 0 <= i <= n and n > 0, for example 0/16, got {text!r}")
        return cls(int(number) % int(count), int(count))

    @property
    def whole(self) -> bool:
        return self.count == 1

    def parts(self, count: int) -> range:
        """Return this share's parts of ``count``."""
        return range(self.number, count, self.count)


class PartsFolder:
    """The folder of unfinished work, held by this process: alone, or together with the other jobs of an array.

    A job of an array holds the lock ``lock`` together with the others and its own ``lock-i-of-n`` alone.
    """

    def __init__(self, path: Path, share: Share, locks: list[IO[str]]) -> None:
        self.path, self.share, self._locks = path, share, locks

    def alone(self) -> bool:
        """Return True where no other job of the array is at work; then none can begin before this one ends.

        Of jobs that end at the same moment one is alone: who fails to get the lock has given it up.
        """
        return self.share.whole or _lock(self._locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, self.path)

    def clean(self, parts: Sequence[Path]) -> None:
        """Remove what a killed run left half written: of ``parts``, the files of this share, or of all."""
        if self.share.whole:
            for leftover in self.path.glob("*.tmp-*"):
                leftover.unlink()
        else:
            for path in parts:
                remove_temporary(path)


def folder_of(out: Path) -> Path:
    """Return the folder of the parts of ``out``; absolute, since other processes may be elsewhere."""
    return Path(f"{out.absolute()}.parts")


@contextmanager
def parts_folder(
    out: Path, description: dict[str, Any], overwrite: bool = False, share: Share | None = None
) -> Iterator[PartsFolder]:
    """Hold the folder of unfinished work, known to belong to this work.

    Args:
        out: the file that is made of the parts.
        description: all that decides the parts, plain JSON values.
        overwrite: drop unfinished work of another description.
        share: of one job of an array; None for all.

    Raises:
        PartsError: the folder belongs to other work, or another process does the same.
        WorkerError, OSError: those of the block, which then say that finished parts are kept.
    """
    folder, share, locks = folder_of(out), share or Share(), []
    try:
        locks.append(_open(folder, _LOCK))
        if share.whole:
            _take(locks[0], folder)
        else:
            _lock(locks[0], fcntl.LOCK_SH, folder)  # waits while another job joins the parts
            locks.append(_open(folder, f"{_LOCK}-{share.number}-of-{share.count}"))
            _take(locks[1], folder)
        _claim(folder, json.loads(json.dumps(description, default=str)), overwrite)
        if share.whole:
            remove_temporary(out)
        with _say_what_is_kept(folder):
            yield PartsFolder(folder, share, locks)
    finally:
        for lock in locks:
            lock.close()


def differences(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """List the entries in which two descriptions differ, one line each.

    Args:
        found: description that is there.
        asked: description asked for.
    """
    keys = sorted(key for key in found | asked if found.get(key) != asked.get(key))
    return "\n".join(f"  {key}: {found.get(key)!r} there, {asked.get(key)!r} asked for" for key in keys)


@contextmanager
def _say_what_is_kept(folder: Path) -> Iterator[None]:
    """Add to errors about processes and disks that finished parts are kept."""
    kept = f"finished parts are kept in {folder}: the same command continues from there"
    try:
        yield
    except WorkerError as error:
        raise WorkerError(f"{error}\n{kept}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(errno.ENOSPC, f"{error.strerror}; {kept}", error.filename) from error


def _open(folder: Path, name: str) -> IO[str]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the work was finished, and its folder removed, at this moment
            return (folder / name).open("w")


def _take(lock: IO[str], folder: Path) -> None:
    if not _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, folder):
        raise PartsError(f"another process is building into {folder}")


def _lock(lock: IO[str], how: int, folder: Path) -> bool:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise PartsError(
            f"the file system of {folder} has no file locks: mount it with them, or build elsewhere"
        ) from error
    return True


def _claim(folder: Path, description: dict[str, Any], overwrite: bool) -> None:
    spec = folder / _SPEC
    found = json.loads(spec.read_text()) if spec.exists() else _publish(spec, description)
    if found == description:
        return
    if not overwrite:
        raise PartsError(
            f"{folder} holds unfinished work of other settings: finish that with its own settings, or delete "
            f"the folder:\n{differences(found, description)}"
        )
    for old in folder.iterdir():
        if not old.name.startswith(_LOCK):
            old.unlink()
    _publish(spec, description)


def _publish(spec: Path, description: dict[str, Any]) -> Any:
    """Write the description where none is; return the one that is there then, of whichever process was first."""
    temporary = temporary_path(spec)
    with full_disk_message(spec, 1 << 20):
        temporary.write_text(json.dumps(description, indent=1, sort_keys=True))
    try:
        with suppress(FileExistsError):
            os.link(temporary, spec)  # unlike a rename, it fails when there is one
    finally:
        temporary.unlink()
    return json.loads(spec.read_text())
