"""A process that works on objects, watched: replaced when it is lost, when an object takes too long, and now and then.

Renderers and mesh readers are other people's C++: they leak, run out of memory and, on some meshes, never return.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from equissl.util.processes import end_with_parent, rendering_context

ATTEMPTS = 3  # processes that may be lost over one part
_PATIENCE = 1.5  # of the limit: mesh sources have timers of their own, which leave the process alive


class WorkerError(RuntimeError):
    """Rendering processes died over the same work, or an object failed for a reason other than its mesh."""


@dataclass(frozen=True)
class Begun:
    """What a process is doing.

    Attributes:
        index: of the object.
        doing: in words.
        steps: it may take as many times the limit for one.
    """

    index: int
    doing: str
    steps: int = 1


@dataclass(frozen=True)
class Limits:
    """How long a process may work.

    Attributes:
        mesh_seconds: longest time to read a mesh, or to render one view of it on average; None waits for ever.
        restart_after: objects after which a process is replaced by a new one.
    """

    mesh_seconds: float | None = 300.0
    restart_after: int = 1000

    def __post_init__(self) -> None:
        if self.mesh_seconds is not None and not self.mesh_seconds > 0:
            raise ValueError(f"expected mesh_seconds above 0, or none, got {self.mesh_seconds}")
        if self.restart_after < 1:
            raise ValueError(f"expected restart_after of at least 1 object, got {self.restart_after}")


class Job(Protocol):
    """Work on objects, cut into parts. Picklable."""

    def objects(self, part: int) -> Sequence[int]:
        """Objects of one part."""
        ...

    def name(self, index: int) -> str:
        """Of an object."""
        ...

    def run(self, part: int, given_up: Mapping[int, str], tell: Callable[[Begun | None], None]) -> Any:
        """Does one part without the objects in ``given_up`` (with the reason), telling what it begins."""
        ...


class Worker(Protocol):
    """Does one part at a time."""

    def run(self, part: int) -> Any: ...

    def stop(self) -> None:
        """Ends what is under way, from another thread."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Answer:
    result: Any = None
    error: BaseException | None = None


class _LostError(Exception):
    """The process ended: why, and over which object."""

    def __init__(self, reason: str, index: int | None) -> None:
        super().__init__(reason)
        self.index = index


class _TimeError(Exception):
    def __init__(self, begun: Begun) -> None:
        self.begun = begun


class WatchedProcess:
    """Runs parts of a job in a process of its own, one after the other.

    A process that dies is replaced and the part done again, :data:`ATTEMPTS` times at most. An object that exceeds its
    time ends the process too; the next one leaves it out, as if its mesh were damaged.
    """

    def __init__(self, job: Job, limits: Limits) -> None:
        self.job, self.limits = job, limits
        self._process: Any = None
        self._connection: Connection | None = None
        self._objects, self._stopped = 0, False

    def run(self, part: int) -> Any:
        """What ``job.run`` gives for ``part``.

        Raises:
            WorkerError: naming the objects over which processes were lost.
        """
        given_up: dict[int, str] = {}
        lost: list[_LostError] = []
        while True:
            try:
                return self._attempt(part, given_up)
            except _TimeError as error:
                seconds = (self.limits.mesh_seconds or 0) * error.begun.steps
                given_up[error.begun.index] = f"{error.begun.doing} took longer than {seconds:g} s"
            except _LostError as error:
                lost.append(error)
                if self._stopped or len(lost) == ATTEMPTS:
                    raise WorkerError(self._describe(part, lost)) from error

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Ends the process, in peace where it is idle."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.send(None)
            self._process.join(5)
        self._end()

    def _attempt(self, part: int, given_up: Mapping[int, str]) -> Any:
        if self._objects >= self.limits.restart_after:
            self.close()
        if self._connection is None:
            self._start()
        begun: Begun | None = None
        try:
            assert self._connection is not None
            self._connection.send((part, given_up))
            while True:
                if not self._connection.poll(self._seconds(begun)):
                    assert begun is not None
                    raise _TimeError(begun)
                message = self._connection.recv()
                if isinstance(message, _Answer):
                    break
                begun = message
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            self._end()
            raise _LostError(_reason(code), begun.index if begun else None) from error
        except _TimeError:
            self._end()
            raise
        self._objects += len(self.job.objects(part))
        if message.error is not None:
            raise message.error
        return message.result

    def _seconds(self, begun: Begun | None) -> float | None:
        limit = self.limits.mesh_seconds
        return None if begun is None or limit is None else _PATIENCE * limit * begun.steps

    def _start(self) -> None:
        context = rendering_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self.job, theirs, dict(os.environ)), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._objects = 0

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._connection = self._process = None

    def _describe(self, part: int, lost: Sequence[_LostError]) -> str:
        objects = self.job.objects(part)
        places = sorted({error.index for error in lost if error.index is not None}) or [objects[0], objects[-1]]
        named = ", ".join(f"object {index} ({self.job.name(index)})" for index in places)
        where = f"over {named}" if any(error.index is not None for error in lost) else f"in the part from {named}"
        return (
            f"a rendering process died {where}, {len(lost)} times: {lost[-1]}. It was killed, ran out of memory (fewer "
            "workers need less), or was started from a script without `if __name__ == '__main__':`"
        )


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(job: Job, connection: Connection, environment: dict[str, str]) -> None:
    os.environ.update(environment)  # the server has that of the moment at which it was started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the parent decides what ends
    end_with_parent()
    while (message := connection.recv()) is not None:
        try:
            part, given_up = message
            answer = _Answer(job.run(part, given_up, connection.send))
        except Exception as error:
            answer = _Answer(error=error)
        connection.send(answer)
