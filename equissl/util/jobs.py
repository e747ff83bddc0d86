"""Runs commands side by side, one core each, with one line of progress, and the end of the log of whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TAIL_LINES = 25
POLL_SECONDS = 0.25
PLAIN_STATUS_SECONDS = 30.0


class JobError(RuntimeError):
    """A command that ended with an error; the message holds the end of its log."""


@dataclass
class Job:
    """Commands that are run one after the other, each in its own process.

    Attributes:
        name: shown in front of everything it does.
        commands: program and arguments of each.
        log: file that takes what they print.
        stages: a word for each command.
        done: commands that need not be run (any more).
        seconds: what each stage took.
    """

    name: str
    commands: list[list[str]]
    log: Path
    stages: list[str]
    done: int = 0
    process: subprocess.Popen | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = 0.0

    @property
    def finished(self) -> bool:
        return self.done == len(self.commands)

    def status(self) -> str:
        """What it is doing, with the last line that it logged."""
        return (
            f"{self.name}: {self.stages[self.done]} {last_line(self.log)}"
            if not self.finished
            else f"{self.name}: done"
        )


def run_jobs(jobs: Sequence[Job], parallel: int, say: Callable[[str], None] = print) -> None:
    """Runs the jobs, ``parallel`` at a time with one thread each (the fastest way to share cores).

    Raises:
        JobError: with the end of the log of the first job that fails; the others are stopped.
    """
    waiting = list(jobs)
    running: list[Job] = []
    show = _Status(say)
    try:
        while waiting or running:
            while waiting and len(running) < max(1, parallel):
                running.append(waiting.pop(0))
                _start(running[-1])
            for job in running:
                _advance(job, say, show)
            running = [job for job in running if not job.finished]
            show([job.status() for job in running] + [f"{job.name}: waiting" for job in waiting])
            time.sleep(POLL_SECONDS)
    finally:
        show.clear()
        for job in running:
            _stop(job)


def _start(job: Job) -> None:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with job.log.open("ab") as log:
        log.write(f"\n$ {' '.join(job.commands[job.done])}\n".encode())
        log.flush()
        job.process = subprocess.Popen(
            job.commands[job.done], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )


def _advance(job: Job, say: Callable[[str], None], show: _Status) -> None:
    code = job.process.poll() if job.process else None
    if code is None:
        return
    stage = job.stages[job.done]
    if code:
        show.clear()
        raise JobError(f"{job.name}: {stage} ended with exit code {code}. The end of {job.log}:\n{tail(job.log)}")
    job.seconds[stage] = time.perf_counter() - job.started
    job.process, job.done = None, job.done + 1
    show.clear()
    say(f"{job.name}: {stage} took {job.seconds[stage]:.0f} s")
    if not job.finished:
        _start(job)


def _stop(job: Job) -> None:
    if job.process is None or job.process.poll() is not None:
        return
    job.process.terminate()
    try:
        job.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        job.process.kill()
        job.process.wait()


class _Status:
    """One line that is redrawn on a terminal; elsewhere a plain line now and then."""

    def __init__(self, say: Callable[[str], None], stream: IO[str] | None = None) -> None:
        self.say, self.stream = say, stream or sys.stderr
        self.live, self.shown = self.stream.isatty(), time.monotonic()

    def __call__(self, parts: list[str]) -> None:
        text = " | ".join(parts)
        if self.live:
            width = os.get_terminal_size(self.stream.fileno()).columns - 1
            self.stream.write("\r\x1b[K" + text[:width])
            self.stream.flush()
        elif text and time.monotonic() - self.shown > PLAIN_STATUS_SECONDS:
            self.shown = time.monotonic()
            self.say(text)

    def clear(self) -> None:
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


def last_line(log: Path, limit: int = 60) -> str:
    lines = tail(log, 1, 4096).splitlines()
    return lines[-1].strip()[:limit] if lines else ""


def tail(log: Path, lines: int = TAIL_LINES, size: int = 1 << 16) -> str:
    """The last lines of a log; a progress bar's carriage returns count as line ends."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        text = file.read().decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
