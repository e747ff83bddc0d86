"""Commands run side by side, one core each, with one line of progress, and the end of the log of those that fail.

Unlike the workers of :mod:`equissl.util.workers`, which do parts of one job in this program, these are programs
of their own: each has a command line, a log, and a result to continue from.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from equissl.util.processes import one_thread_environment, usable_cores
from equissl.util.progress import Progress

TAIL_LINES = 25
POLL_SECONDS = 0.25
logger = logging.getLogger(__name__)


class CommandError(RuntimeError):
    """A command that ended with an error; the message holds the end of its log."""


@dataclass
class Commands:
    """Commands that are run one after the other, each in its own process.

    Attributes:
        name: shown in front of everything they do.
        stages: program and arguments of each, by the name of the stage.
        log: file that takes what they print.
        seconds: time that each stage took.
    """

    name: str
    stages: dict[str, list[str]]
    log: Path
    seconds: dict[str, float] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    started: float = 0.0

    @property
    def stage(self) -> str | None:
        """Stage under way or next; None where all are done."""
        return next((stage for stage in self.stages if stage not in self.seconds), None)

    def status(self) -> str:
        """Return the stage, with the last line that it logged."""
        if self.process is None:
            return f"{self.name}: waiting"
        return f"{self.name}: {self.stage} {last_line(self.log)}"


def run_commands(work: Sequence[Commands], parallel: int | None = None, progress: bool = True) -> None:
    """Run commands with one thread each, which is the fastest way to share cores.

    Args:
        work: those of one entry run one after the other, entries side by side.
        parallel: entries at a time; None takes one for each core.
        progress: show how far they are, on standard error.

    Raises:
        CommandError: with the end of the log of the first command that fails; the others are stopped.
    """
    waiting, running = list(work), list[Commands]()
    with Progress(sum(len(each.stages) for each in work), "running", "commands", progress, every=30.0) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < max(1, parallel or usable_cores()):
                    running.append(waiting.pop(0))
                    _start(running[-1])
                for each in running:
                    _advance(each, bar)
                running = [each for each in running if each.stage]
                bar.note(" | ".join(each.status() for each in (*running, *waiting)))
                time.sleep(POLL_SECONDS if running else 0)
        finally:
            for each in running:
                _stop(each)


def _start(work: Commands) -> None:
    work.log.parent.mkdir(parents=True, exist_ok=True)
    work.started = time.perf_counter()
    command = work.stages[work.stage or ""]
    with work.log.open("ab") as log, one_thread_environment():
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        work.process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )


def _advance(work: Commands, bar: Progress) -> None:
    code = work.process.poll() if work.process else None
    if code is None or work.stage is None:
        return
    stage = work.stage
    if code:
        raise CommandError(
            f"{work.name}: {stage} ended with exit code {code}. The end of {work.log}:\n{tail(work.log)}"
        )
    work.seconds[stage] = time.perf_counter() - work.started
    logger.info("%s: %s took %.0f s", work.name, stage, work.seconds[stage])
    bar.update(1)
    if work.stage:
        _start(work)


def _stop(work: Commands) -> None:
    if work.process is None or work.process.poll() is not None:
        return
    work.process.terminate()
    try:
        work.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        work.process.kill()
        work.process.wait()


def last_line(log: Path, limit: int = 60) -> str:
    """Return the last line of a log, cut to ``limit`` characters.

    Args:
        log: the file.
        limit: most characters.
    """
    lines = tail(log, 1, 4096).splitlines()
    return lines[-1].strip()[:limit] if lines else ""


def tail(log: Path, lines: int = TAIL_LINES, size: int = 1 << 16) -> str:
    """Return the last lines of a log; a progress bar's carriage returns count as line ends.

    Args:
        log: the file; a missing one has no lines.
        lines: how many.
        size: bytes from its end in which they are sought.
    """
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        text = file.read().decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
