"""Work cut into parts, and the limits of the processes that do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 3  # processes that may be lost over one part


class WorkerError(RuntimeError):
    """Processes died over the same work, or an item failed for a reason other than its data."""


@dataclass(frozen=True)
class Begun:
    """Work that a process has begun.

    Attributes:
        item: number within the job.
        doing: in words.
        steps: it may take as many times the limit for one.
    """

    item: int
    doing: str
    steps: int = 1


Tell = Callable[[Begun | None], None]


@dataclass(frozen=True)
class Limits:
    """Limits of a process: time for a step, and items and memory before it is replaced.

    Attributes:
        seconds: longest time for one step of an item; None waits for ever.
        restart_after: items after which a process is replaced by a new one.
        megabytes: a process that has used more memory is replaced before its next part.
    """

    seconds: float | None = 300.0
    restart_after: int = 1000
    megabytes: float = 8192.0

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"expected a limit above 0 seconds, or none, got {self.seconds}")
        if self.restart_after < 1:
            raise ValueError(f"expected restart_after of at least 1, got {self.restart_after}")
        if not self.megabytes > 0:
            raise ValueError(f"expected a limit above 0 megabytes, got {self.megabytes}")


class Job(Protocol):
    """Work on items, cut into parts; items and parts have numbers. Picklable."""

    def items(self, part: int) -> Sequence[int]:
        """Return the items of one part."""
        ...

    def describe(self, part: int, item: int) -> str:
        """Describe an item of a part, for errors.

        Args:
            part: number of the part.
            item: number of the item within the job.
        """
        ...

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> Any:
        """Do one part.

        Args:
            part: its number.
            given_up: items to leave out, with the reason.
            tell: is told what is begun, and None when limits are over.
        """
        ...


class Worker(Protocol):
    """Runner of one part at a time."""

    def run(self, part: int) -> Any: ...

    def stop(self) -> None:
        """End what is under way, from another thread."""
        ...

    def close(self) -> None: ...
