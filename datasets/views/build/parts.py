"""The folder of unfinished work: to which build it belongs, who works in it, and who joins it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from equissl.datasets.views.build.shard import ShardJob
from equissl.datasets.views.build.spec import differences
from equissl.util.files import full_disk_message, remove_temporary, temporary_path

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


class BuildError(RuntimeError):
    """A build that cannot start or end as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Share:
    """One job's part of a build: every ``count``-th shard, from ``number`` on."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Share:
        """``i/n``, counted from 0 or from 1: any n numbers in a row make the whole, since n/n is 0/n.

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

    def shards(self, job: ShardJob) -> range:
        """Its shards of ``job``."""
        return range(self.number, job.count, self.count)


class PartsFolder:
    """The folder, held by this process: alone, or together with the other jobs of an array.

    A job of an array holds the lock ``lock`` together with the others and its own ``lock-i-of-n`` alone.
    """

    def __init__(self, job: ShardJob, share: Share, locks: list[IO[str]]) -> None:
        self.job, self.share, self._locks = job, share, locks

    def alone(self) -> bool:
        """Whether no other job of the array is at work; if so, none can begin before this one ends.

        Of jobs that end at the same moment one is alone: who fails to get the lock has given it up.
        """
        return self.share.whole or _lock(self._locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, self.job.folder)

    def clean(self, out: Path) -> None:
        """Removes what a killed run of this share, or of the whole, left half written."""
        names = [self.job.path(shard).name for shard in self.share.shards(self.job)] if not self.share.whole else [""]
        for name in names:
            for leftover in self.job.folder.glob(f"{name}*.tmp-*"):
                leftover.unlink(missing_ok=True)
        if self.share.whole:
            clean_output(out)


def clean_output(out: Path) -> None:
    """Removes a file that was being joined when its process was killed."""
    remove_temporary(out)


@contextmanager
def parts_folder(job: ShardJob, share: Share, description: dict, overwrite: bool) -> Iterator[PartsFolder]:
    """The folder of unfinished work, held by this process and known to belong to this build.

    Raises:
        BuildError: it belongs to another build, or another process does the same work.
    """
    locks: list[IO[str]] = []
    try:
        locks.append(_open(job.folder, "lock"))
        if share.whole:
            _take(locks[0], job.folder)
        else:
            _lock(locks[0], fcntl.LOCK_SH, job.folder)  # waits while another job joins the parts
            locks.append(_open(job.folder, f"lock-{share.number}-of-{share.count}"))
            _take(locks[1], job.folder)
        _claim(job, description | {"shard_size": job.spec.shard_size}, overwrite)
        yield PartsFolder(job, share, locks)
    finally:
        for lock in locks:
            lock.close()


def _open(folder: Path, name: str) -> IO[str]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the build was finished, and its folder removed, at this moment
            return (folder / name).open("w")


def _take(lock: IO[str], folder: Path) -> None:
    if not _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, folder):
        raise BuildError(f"another process is building into {folder}")


def _lock(lock: IO[str], how: int, folder: Path) -> bool:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise BuildError(
            f"the file system of {folder} has no file locks: mount it with them, or build elsewhere"
        ) from error
    return True


def _claim(job: ShardJob, description: dict, overwrite: bool) -> None:
    spec_file = job.folder / "spec.json"
    found = json.loads(spec_file.read_text()) if spec_file.exists() else _publish(spec_file, description)
    if found == description:
        return
    if not overwrite:
        raise BuildError(
            f"{job.folder} holds unfinished work of another build: finish that with its own settings, or delete "
            f"the folder:\n{differences(found, description)}"
        )
    for old in (*job.folder.glob("shard-*"), *job.folder.glob("index.json"), spec_file):
        old.unlink()
    _publish(spec_file, description)


def _publish(spec_file: Path, description: dict) -> dict:
    """Writes the description where none is; the one that is there then, of whichever process was first."""
    temporary = temporary_path(spec_file)
    with full_disk_message(spec_file, 1 << 20):
        temporary.write_text(json.dumps(description, indent=1, sort_keys=True))
    try:
        with suppress(FileExistsError):
            os.link(temporary, spec_file)  # unlike a rename, it fails when there is one
    finally:
        temporary.unlink()
    return json.loads(spec_file.read_text())
