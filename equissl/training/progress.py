"""A progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from equissl.training.metriclog import MetricLog

logger = logging.getLogger(__name__)
LINE_EVERY = 15.0  # seconds between two lines where there is no terminal
BAR_EVERY = 0.2


class Progress(pl.Callback):
    """Shows step, loss, online scores, speed and time left.

    Args:
        log: where the numbers come from.
        last_step: end of the run.
        title: shown in front.
    """

    def __init__(self, log: MetricLog, last_step: int, title: str) -> None:
        self.curves, self.last_step, self.title = log, last_step, title
        self._bar: tqdm | None = None
        self._shown = 0.0
        self._start = (0.0, 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = (time.monotonic(), trainer.global_step)
        self._shown = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self.last_step, initial=trainer.global_step, desc=self.title, unit="step", leave=True
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        step = trainer.global_step
        if now - self._shown < (LINE_EVERY if self._bar is None else BAR_EVERY) and step != self.last_step:
            return
        self._shown = now
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(self._scores(), refresh=False)
        elif pl_module.stepped(batch_idx):
            logger.info(
                "%s: step %d/%d  %s  %s", self.title, step, self.last_step, self._scores(), self._speed(now, step)
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
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

    def _speed(self, now: float, step: int) -> str:
        begun, first = self._start
        rate = (step - first) / max(now - begun, 1e-9)
        left = (self.last_step - step) / rate if rate > 0 else 0.0
        speed = f"{rate * self.curves.views_per_step:,.0f} {self.curves.unit}/s"
        return f"{speed}  {time.strftime('%H:%M:%S', time.gmtime(left))} left"
