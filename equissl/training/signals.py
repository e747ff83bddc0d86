"""Signals that ask a run to save and stop.

SIGINT and SIGTERM stop it; SIGUSR1, which SLURM sends before a job's time is over (``--signal=USR1@120``), also asks
SLURM to queue the job again. In each case the program ends with exit code 130.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SAME = 0.5  # seconds: a launcher hands on the Ctrl-C that the terminal has sent to every process
logger = logging.getLogger(__name__)


class StopSignals:
    """Handler that notes the first signal instead of ending the process; a second Ctrl-C ends it at once.

    Attributes:
        received: number of the signal, 0 before one has come.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at = 0.0
        self._handlers: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals; other threads than the main one cannot, and leave them as they are."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._at = number, now
        elif number == signal.SIGINT and now - self._at > SAME:
            raise KeyboardInterrupt


def requeue_job() -> None:
    """Ask SLURM to queue this job again; without ``SLURM_JOB_ID`` there is none."""
    if (job := os.environ.get("SLURM_JOB_ID")) is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        logger.error("could not queue job %s again: %s", job, said)
    else:
        logger.info("job %s is queued again", job)
