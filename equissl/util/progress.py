"""Progress of long work."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar on a terminal, a plain line every few seconds elsewhere, nothing when switched off.

    Args:
        total: units of work in all.
        label: what is being done.
        unit: for example ``img``.
        enabled: whether to show anything.
        every: seconds between plain lines.
    """

    def __init__(self, total: int, label: str, unit: str, enabled: bool = True, every: float = 10.0) -> None:
        self.total, self.label, self.unit, self.enabled = total, label, unit, enabled
        self.done = self._skipped = 0
        self.every, self._start, self._next = every, time.monotonic(), 0.0
        on_terminal = enabled and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=unit) if on_terminal else None

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
        elif self.enabled and (time.monotonic() >= self._next or self.done >= self.total):
            self._next = time.monotonic() + self.every
            rate = (self.done - self._skipped) / max(time.monotonic() - self._start, 1e-9)
            self.say(f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.0f} {self.unit}/s")

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
