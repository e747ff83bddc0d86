"""Training curves: the values of a step, collected into a row of the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from equissl.training.loggers import Logger
from equissl.training.loop import Loop
from equissl.training.observers import Observer


class MetricLog(Observer):
    """Log of loss and terms, averaged over the batches since the last row, and of what other observers added.

    It comes after the observers that add values and before the one that saves checkpoints, so that everything up to a
    checkpoint's step is on disk when the checkpoint is.

    Args:
        loggers: where the rows go; none in processes other than the first.
        every: steps between two rows.
        views: images, or sweeps, seen after a number of optimiser steps, over all processes.
        last_step: also log this one.
        unit: what they are, for the names of the curves.
    """

    def __init__(
        self, loggers: Sequence[Logger], every: int, views: Callable[[int], int], last_step: int, unit: str = "views"
    ) -> None:
        self.loggers, self.every, self.views, self.last_step = loggers, every, views, last_step
        self.unit = unit
        self.seconds = 0.0  # of training, over all starts of the run
        self.latest: dict[str, float] = {}  # most recent value of each curve
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._added: dict[str, float] = {}
        self._clock: float | None = None
        self._row = (0, 0.0)  # step and seconds of the last row

    def due(self, step: int) -> bool:
        """Return True where ``step`` gets a row: the first, the last, and every ``every``-th."""
        return step % self.every == 0 or step in (1, self.last_step)

    def add(self, values: dict[str, float]) -> None:
        """Put values into the current step's row."""
        self._added.update(values)

    def on_start(self, loop: Loop) -> None:
        for logger in self.loggers:
            logger.open(loop.step)
        self._clock = time.monotonic()
        self._row = (loop.step, self.seconds)

    def after_batch(self, loop: Loop, batch: Any) -> None:
        self._sum(loop)
        if loop.stepped and (self.due(loop.step) or self._added):
            self._write(loop.step)

    def on_end(self, loop: Loop) -> None:
        self._close(finished=loop.step == loop.last_step)

    def on_error(self, loop: Loop, error: BaseException) -> None:
        self._close(finished=False)

    def _close(self, finished: bool) -> None:
        for logger in self.loggers:
            logger.close(finished)

    def _sum(self, loop: Loop) -> None:
        output = loop.output
        assert output is not None
        for name, value in (("loss", output.loss), *output.terms.items()):
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._count += 1

    def _write(self, step: int) -> None:
        self._tick()
        values: dict[str, float] = {}
        if self.due(step):
            values = {f"train/{name}": float(value) / self._count for name, value in self._sums.items()}
            values[f"{self.unit}_seen"] = self.views(step)
            values[f"time/{self.unit}_per_second"] = self._rate(step)
            self._sums, self._count = {}, 0
        values.update(self._added)
        self._added = {}
        self.latest.update(values)
        for logger in self.loggers:
            logger.write(step, self.views(step), self.seconds, values)

    def _rate(self, step: int) -> float:
        before, seconds = self._row
        self._row = (step, self.seconds)
        return (self.views(step) - self.views(before)) / max(self.seconds - seconds, 1e-9)

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - (self._clock if self._clock is not None else now)
        self._clock = now

    def state_dict(self) -> dict[str, Any]:
        self._tick()
        return {"seconds": self.seconds, "sums": self._sums, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self._sums, self._count = state["seconds"], state["sums"], state["count"]
        self._row = (self._row[0], self.seconds)
