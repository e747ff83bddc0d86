"""Worker processes: one thread in each, and an end when their parent ends."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.context
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@contextmanager
def one_thread_environment() -> Iterator[None]:
    """Return the variables that a new process reads at its start: one thread per process is fastest."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def fresh_context(module: str) -> multiprocessing.context.ForkServerContext:
    """Return the context in which worker processes start.

    A process forked from this one would share threads and locks of the libraries loaded here. The server has imported
    ``module`` (that of the first call in this process), and no more, so that a new process is there at once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def end_with_parent() -> None:
    """End this process from now on when its parent ends, which it would otherwise wait for in vain."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class Ending:
    """End of a process of several, without the teardown of its interpreter once ``code`` is set.

    Threads of torch's process groups let go of tensors whenever they are scheduled. One that does so while the
    interpreter is torn down aborts the process ("terminate called without an active exception"), and what had ended
    well counts as failed. Exit handlers that were registered later run first, so create this before the work.

    Attributes:
        code: exit code; None leaves the end to Python.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is not None:
            logging.shutdown()  # its own handler was registered earlier, and would come after this one
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def usable_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_megabytes() -> float:
    """Return the most memory that this process has used so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
