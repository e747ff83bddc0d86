"""Parts of drives: so many sweeps of one drive in a file of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.util.job import Tell


@dataclass(frozen=True)
class DrivePart:
    """Sweeps ``start`` to ``stop`` of a drive, in a file of their own."""

    path: Path
    drive: str
    start: int
    stop: int


def plan_parts(
    folder: Path, lengths: Mapping[str, int], sweeps: int | None = None, prefix: str = "part"
) -> list[DrivePart]:
    """Cut drives into parts.

    Args:
        folder: of the parts.
        lengths: number of sweeps of each drive by its name.
        sweeps: at most so many in a part; None makes one part of each drive.
        prefix: of the files' names.
    """
    parts = []
    for number, (name, length) in enumerate(lengths.items()):
        step = sweeps or length
        for start in range(0, length, step):
            path = folder / f"{prefix}-{number:05d}-{start:07d}.h5"
            parts.append(DrivePart(path, name, start, min(start + step, length)))
    return parts


class DriveJob(ABC):
    """A job on parts of drives, see :class:`equissl.util.parts.FileJob`; its items are the sweeps of a drive.

    Args:
        parts: by number.
    """

    def __init__(self, parts: list[DrivePart]) -> None:
        self.parts = parts

    @property
    def count(self) -> int:
        return len(self.parts)

    def path(self, part: int) -> Path:
        """Return the file of a part."""
        return self.parts[part].path

    def items(self, part: int) -> range:
        """Return the sweeps of a part, by their position in the drive."""
        return range(self.parts[part].start, self.parts[part].stop)

    def units(self, part: int) -> int:
        """Number of sweeps of a part."""
        return len(self.items(part))

    def describe(self, part: int, item: int) -> str:
        """Return the position of a sweep and the name of its drive.

        Args:
            part: number of the part.
            item: position of the sweep in its drive.
        """
        return f"sweep {item} of {self.parts[part].drive}"

    def check(self, part: int) -> None:
        """Raise an error for a part that is not a whole drive store of its drive."""
        if (found := DriveStore(self.path(part)).names) != (self.parts[part].drive,):
            raise DriveStoreError(f"expected drive {self.parts[part].drive} in {self.path(part)}, found {found}")

    @abstractmethod
    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> Any:
        """Write one part, see :meth:`equissl.util.job.Job.run`.

        Args:
            part: number of the part.
            given_up: items to leave out, each with the reason.
            tell: called with the work that is begun.
        """
