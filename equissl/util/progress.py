"""Progress of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

#: Receiver of a line about what is being done.
Log = Callable[[str], None]

Item = TypeVar("Item")
_shown: ContextVar[bool] = ContextVar("progress_shown", default=False)


@contextmanager
def showing_progress() -> Iterator[None]:
    """Show the progress of all that `stage` and `staged` count within the block."""
    token = _shown.set(True)
    try:
        yield
    finally:
        _shown.reset(token)


def stage(total: int, label: str, unit: str) -> Progress:
    """Create the progress of one stage of a longer work, shown where `showing_progress` is in force.

    Elsewhere than on a terminal, a stage that is over within seconds shows nothing.

    Args:
        total: units of work in all.
        label: what is being done.
        unit: for example ``img``.
    """
    return Progress(total, label, unit, _shown.get(), patient=True)


def staged(items: Iterable[Item], label: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield items, counting each as one unit of a `stage` when it is done with.

    Args:
        items: to go through.
        label: what is being done.
        unit: for example ``batches``.
        total: number of items; their length where None.
    """
    count = len(items) if total is None and isinstance(items, Sequence) else total or 0
    with stage(count, label, unit) as bar:
        for item in items:
            yield item
            bar.update(1)


class Progress:
    """A bar on a terminal, a plain line every few seconds elsewhere, nothing when switched off.

    Args:
        total: units of work in all.
        label: what is being done.
        unit: for example ``img``.
        enabled: whether to show anything.
        every: seconds between plain lines.
        patient: no plain line before the first ``every`` seconds have passed, nor for work that is over by then.
    """

    def __init__(
        self, total: int, label: str, unit: str, enabled: bool = True, every: float = 10.0, patient: bool = False
    ) -> None:
        self.total, self.label, self.unit, self.enabled = total, label, unit, enabled
        self.done = self._skipped = 0
        self.every, self._start = every, time.monotonic()
        self._patient, self._next = patient, self._start + every if patient else 0.0
        on_terminal = enabled and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=unit, leave=not patient) if on_terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, amount: int) -> None:
        """Count ``amount`` more units."""
        self.done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif self.enabled and self._due(time.monotonic()):
            rate = (self.done - self._skipped) / max(time.monotonic() - self._start, 1e-9)
            self.say(
                f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.{0 if rate >= 10 else 2}f} {self.unit}/s"
                f"{self._left(rate)}"
            )
            self._next, self._patient = time.monotonic() + self.every, False

    def _due(self, now: float) -> bool:
        return now >= self._next or (self.done >= self.total and not self._patient)

    def _left(self, rate: float) -> str:
        """Return the time left at a rate in units a second; empty at the end, and before anything was done."""
        if rate <= 0 or self.done >= self.total:
            return ""
        seconds = int((self.total - self.done) / rate)
        return f", {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"

    def skip(self, amount: int) -> None:
        """Count ``amount`` units that were finished before; they do not enter the rate."""
        self.done += amount
        self._skipped += amount
        if self._bar is not None:
            self._bar.initial += amount
            self._bar.update(amount)

    def note(self, text: str) -> None:
        """Show what is under way: at the end of the bar, elsewhere as a line now and then."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self.enabled and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every
            self.say(f"{self.label}: {self.done}/{self.total} {self.unit}, {text}")

    def say(self, text: str) -> None:
        """Print one line of text that does not disturb the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self.enabled:
            sys.stderr.write(text + "\n")
