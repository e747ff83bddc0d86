"""Training curves: collects what one step gives and writes a row of the log."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.runs.log import RunLog
from equissl.training.module import PretrainModule


class MetricLog(pl.Callback):
    """Writes loss and terms, averaged over the batches since the last row, and what other callbacks added to the step.

    It comes after the callbacks that add values and before the one that saves checkpoints, so that everything up to a
    checkpoint's step is on disk when the checkpoint is.

    Args:
        runlog: the files.
        every: steps between two rows.
        views_per_step: images, or sweeps, of one optimiser step over all processes.
        last_step: also log this one.
        unit: what they are, for the names of the curves.
    """

    def __init__(self, runlog: RunLog, every: int, views_per_step: int, last_step: int, unit: str = "views") -> None:
        self.runlog, self.every, self.views_per_step, self.last_step = runlog, every, views_per_step, last_step
        self.unit = unit
        self.seconds = 0.0  # of training, over all starts of the run
        self.latest: dict[str, float] = {}  # most recent value of each curve
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._added: dict[str, float] = {}
        self._clock: float | None = None
        self._row = (0, 0.0)  # step and seconds of the last row

    def due(self, step: int) -> bool:
        """Whether ``step`` gets a row: the first, the last, and every ``every``-th."""
        return step % self.every == 0 or step in (1, self.last_step)

    def add(self, values: dict[str, float]) -> None:
        """Puts values into the current step's row."""
        self._added.update(values)

    def views(self, step: int) -> int:
        """Images or sweeps seen after ``step`` optimiser steps."""
        return step * self.views_per_step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.runlog.open(trainer.global_step)
        self._clock = time.monotonic()
        self._row = (trainer.global_step, self.seconds)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: ViewBatch, batch_idx: int
    ) -> None:
        self._sum(pl_module)
        if not pl_module.stepped(batch_idx):
            return
        if self.due(trainer.global_step) or self._added:
            self._write(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.runlog.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.runlog.close()

    def _sum(self, module: PretrainModule) -> None:
        output = module.output
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
        self.runlog.write(step, self.views(step), self.seconds, values)

    def _rate(self, step: int) -> float:
        before, seconds = self._row
        self._row = (step, self.seconds)
        return self.views(step - before) / max(self.seconds - seconds, 1e-9)

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - (self._clock if self._clock is not None else now)
        self._clock = now

    def state_dict(self) -> dict[str, Any]:
        self._tick()
        return {"seconds": self.seconds, "sums": self._sums, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self._sums, self._count = state_dict["seconds"], state_dict["sums"], state_dict["count"]
