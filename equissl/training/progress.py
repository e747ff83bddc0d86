"""Progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer

logger = logging.getLogger(__name__)
LINE_EVERY = 15.0  # seconds between two lines where there is no terminal
BAR_EVERY = 0.2


class Progress(Observer):
    """Display of step, loss, online scores, speed and time left.

    Args:
        log: where the numbers come from.
        title: shown in front.
    """

    def __init__(self, log: MetricLog, title: str) -> None:
        self.curves, self.title = log, title
        self._bar: tqdm | None = None
        self._shown = 0.0
        self._start = (0.0, 0)

    def on_start(self, loop: Loop) -> None:
        self._start = (time.monotonic(), loop.step)
        self._shown = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(total=loop.last_step, initial=loop.step, desc=self.title, unit="step", leave=True)

    def after_batch(self, loop: Loop, batch: Any) -> None:
        now = time.monotonic()
        if now - self._shown < (LINE_EVERY if self._bar is None else BAR_EVERY) and loop.step != loop.last_step:
            return
        self._shown = now
        if self._bar is not None:
            self._bar.update(loop.step - self._bar.n)
            self._bar.set_postfix_str(self._scores(), refresh=False)
        elif loop.stepped:
            speed = self._speed(now, loop)
            logger.info("%s: step %d/%d  %s  %s", self.title, loop.step, loop.last_step, self._scores(), speed)

    def on_end(self, loop: Loop) -> None:
        self._close()

    def on_error(self, loop: Loop, error: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _scores(self) -> str:
        names = {"train/loss": "loss", "online/top1": "top1", "online/rotation_mean_deg": "deg"}
        return "  ".join(
            f"{short} {self.curves.latest[name]:.3g}" for name, short in names.items() if name in self.curves.latest
        )

    def _speed(self, now: float, loop: Loop) -> str:
        begun, first = self._start
        rate = (loop.step - first) / max(now - begun, 1e-9)
        left = (loop.last_step - loop.step) / rate if rate > 0 else 0.0
        views = self.curves.views(loop.step) - self.curves.views(first)
        speed = f"{views / max(now - begun, 1e-9):,.0f} {self.curves.unit}/s"
        return f"{speed}  {time.strftime('%H:%M:%S', time.gmtime(left))} left"
