"""Process that does parts of a job, watched and replaced: when it is lost, too slow or too large, and at times.

Renderers, mesh readers and file formats are other people's C++: they leak, run out of memory and, on some data, never
return.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from equissl.util.job import ATTEMPTS, Begun, Job, Limits, WorkerError
from equissl.util.messages import Once, Said, sent
from equissl.util.processes import end_with_parent, fresh_context, peak_megabytes

_PATIENCE = 1.5  # of the limit: mesh sources have timers of their own, which leave the process alive


@dataclass(frozen=True)
class _Answer:
    result: Any = None
    error: BaseException | None = None
    megabytes: float = 0.0


class _LostError(Exception):
    """End of the process, with the reason and the item."""

    def __init__(self, reason: str, item: int | None) -> None:
        super().__init__(reason)
        self.item = item


class _TimeError(Exception):
    def __init__(self, begun: Begun) -> None:
        self.begun = begun


class WatchedProcess:
    """Runner of parts of a job in a process of its own, one after the other.

    A process that dies is replaced and the part done again, :data:`ATTEMPTS` times at most. An item that exceeds its
    time ends the process too; the next one leaves it out, as if its data were damaged.

    Args:
        job: what it does.
        limits: of the process.
        say: is given what is logged or warned in the process.
    """

    def __init__(self, job: Job, limits: Limits, say: Callable[[Said], None] | None = None) -> None:
        self.job, self.limits, self._say = job, limits, say or Once()
        self._process: Any = None
        self._connection: Connection | None = None
        self._items, self._megabytes, self._stopped = 0, 0.0, False

    def run(self, part: int) -> Any:
        """Do one part and return the result of ``job.run``.

        Raises:
            WorkerError: naming the items over which processes were lost.
        """
        given_up: dict[int, str] = {}
        lost: list[_LostError] = []
        while True:
            try:
                return self._attempt(part, given_up)
            except _TimeError as error:
                seconds = (self.limits.seconds or 0) * error.begun.steps
                given_up[error.begun.item] = f"{error.begun.doing} took longer than {seconds:g} s"
            except _LostError as error:
                lost.append(error)
                if self._stopped or len(lost) == ATTEMPTS:
                    raise WorkerError(self._describe(part, lost)) from error

    def stop(self) -> None:
        """End the process and what it does."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process, in peace where it is idle."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.send(None)
            self._process.join(5)
        self._end()

    def _attempt(self, part: int, given_up: Mapping[int, str]) -> Any:
        if self._items >= self.limits.restart_after or self._megabytes > self.limits.megabytes:
            self.close()
        if self._connection is None:
            self._start()
        answer = self._ask(part, given_up)
        self._items, self._megabytes = self._items + len(self.job.items(part)), answer.megabytes
        if answer.error is not None:
            raise answer.error
        return answer.result

    def _ask(self, part: int, given_up: Mapping[int, str]) -> _Answer:
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
                    return message
                if isinstance(message, Said):
                    self._say(message)
                else:
                    begun = message
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            self._end()
            raise _LostError(_reason(code), begun.item if begun else None) from error
        except _TimeError:
            self._end()
            raise

    def _seconds(self, begun: Begun | None) -> float | None:
        limit = self.limits.seconds
        return None if begun is None or limit is None else _PATIENCE * limit * begun.steps

    def _start(self) -> None:
        context = fresh_context(type(self.job).__module__)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self.job, theirs, dict(os.environ)), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._items, self._megabytes = 0, 0.0

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._connection = self._process = None

    def _describe(self, part: int, lost: Sequence[_LostError]) -> str:
        items = self.job.items(part)
        places = sorted({error.item for error in lost if error.item is not None}) or [items[0], items[-1]]
        named = ", ".join(self.job.describe(part, item) for item in places)
        where = f"over {named}" if any(error.item is not None for error in lost) else f"in the part from {named}"
        return (
            f"a worker process died {where}, {len(lost)} times: {lost[-1]}. It was killed, ran out of memory (fewer "
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
    with sent(connection.send):
        while (message := connection.recv()) is not None:
            try:
                part, given_up = message
                answer = _Answer(job.run(part, given_up, connection.send), megabytes=peak_megabytes())
            except Exception as error:
                answer = _Answer(error=error, megabytes=peak_megabytes())
            connection.send(answer)
