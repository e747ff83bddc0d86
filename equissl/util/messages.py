"""Warnings of worker processes, said once by the process that started them.

A worker has no terminal of its own: what a library logs or warns there would be printed once for each process, across
the progress bar, and on a cluster be lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """A message of a worker.

    Attributes:
        level: as :mod:`logging` has it.
        text: the message.
    """

    level: int
    text: str


class Once:
    """Log messages of workers, each text once. Callable from several threads."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, said: Said) -> None:
        with self._lock:
            new = said.text not in self._said
            self._said.add(said.text)
        if new:
            logger.log(said.level, "%s", said.text)


class _Sender(logging.Handler):
    def __init__(self, send: Callable[[Said], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(Said(record.levelno, self.format(record).strip()))
        except (OSError, ValueError):
            self.handleError(record)


@contextmanager
def sent(send: Callable[[Said], None]) -> Iterator[None]:
    """Hand the warnings and errors that are logged in the block, and Python's own warnings, to ``send``.

    Args:
        send: called with each.
    """
    handler, root = _Sender(send), logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
