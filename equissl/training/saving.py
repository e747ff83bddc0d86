"""Checkpoints at intervals, and the stop of a run at a signal or a loss that is no longer a number."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import torch

from equissl.runs.checkpoint import COMPILED, METHOD_PREFIX, OURS
from equissl.runs.config import TrainerConfig
from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer
from equissl.training.signals import StopSignals, requeue_job
from equissl.util.files import atomic_path
from equissl.util.randomstate import random_state, seed_everything, set_random_state
from equissl.util.runfolder import LAST


class TrainingDivergedError(RuntimeError):
    """NaN or infinity in the loss or a weight."""


class CheckpointSaver(Observer):
    """Saver of checkpoints/last.ckpt every N steps or M minutes and at the end; the file is whole at every moment.

    It also holds what a resumed run needs beside weights and optimiser: config, random states of all processes, views
    seen, versions. It comes last among the observers, so that a checkpoint holds their state after the step.

    Attributes:
        interrupted: number of the signal that stopped the run, whichever process it came to; 0 without one.

    Args:
        out: run folder.
        config: the resolved config as plain data.
        trainer: intervals.
        log: counts views.
        versions: of this program and torch.
        random: states of the random generators of all processes to continue with, from a checkpoint.
    """

    def __init__(
        self,
        out: Path,
        config: dict[str, Any],
        trainer: TrainerConfig,
        log: MetricLog,
        versions: dict[str, Any],
        random: list[dict[str, Any]] | None = None,
    ) -> None:
        self.out, self.config, self.trainer, self.curves = out, config, trainer, log
        self.versions, self.interrupted = versions, 0
        self._signals = StopSignals()
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._random = random

    def on_start(self, loop: Loop) -> None:
        self._saved_step = loop.step
        self._signals.install()

    def before_batch(self, loop: Loop, batch: Any) -> None:
        if self._random is None:
            return
        # here, and not earlier: nothing between this point and the step draws random numbers
        if loop.strategy.rank < len(self._random):
            set_random_state(self._random[loop.strategy.rank])
        else:  # more processes than when it was saved
            seed_everything(hash((self.config["seed"], loop.strategy.rank, loop.step)))
        self._random = None

    def after_batch(self, loop: Loop, batch: Any) -> None:
        if loop.device.type == "cpu" or self.curves.due(loop.step):  # reading the loss makes a GPU wait
            self._check_loss(loop)
        if loop.stepped:
            late = self._agree(loop)
            loop.stop = self.interrupted > 0
            if loop.stop or late or loop.step == loop.last_step or loop.step % self.trainer.checkpoint_every == 0:
                self._save(loop)

    def _agree(self, loop: Loop) -> bool:
        """Note a signal that any process has received; return True where one of them finds a checkpoint due."""
        late = time.monotonic() - self._saved_at > 60 * self.trainer.checkpoint_minutes
        number, anyone_late = loop.strategy.largest([self._signals.received, late])
        self.interrupted = int(number)
        return anyone_late > 0

    def _save(self, loop: Loop) -> None:
        self._check_loss(loop)
        content = loop.state()
        self._check_weights(loop, content["state_dict"])
        content[OURS] = self._about(loop)
        try:
            if loop.first_process:
                with atomic_path(self.out / LAST) as temporary:
                    torch.save(content, temporary)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot save {self.out / LAST} ({error.strerror}); {self._last_good()}"
            ) from error
        loop.strategy.barrier()
        self._saved_at, self._saved_step = time.monotonic(), loop.step

    def _about(self, loop: Loop) -> dict[str, Any]:
        return {
            "config": self.config,
            "step": loop.step,
            "views": self.curves.views(loop.step),
            "seconds": self.curves.seconds,
            "random": loop.strategy.gather(random_state()),
            "versions": self.versions,
        }

    def on_error(self, loop: Loop, error: BaseException) -> None:
        self._signals.restore()

    def on_end(self, loop: Loop) -> None:
        self._signals.restore()
        if self.interrupted == signal.SIGUSR1 and loop.first_process:
            requeue_job()

    def _check_loss(self, loop: Loop) -> None:
        output = loop.output
        if output is None or torch.isfinite(output.loss):
            return
        terms = ", ".join(f"{name}={float(value):.4g}" for name, value in output.terms.items())
        raise TrainingDivergedError(
            f"the loss is {float(output.loss)} at step {loop.step} ({terms}). {self._last_good()}. "
            "A smaller optim.lr or trainer.precision=32 may help"
        )

    def _check_weights(self, loop: Loop, weights: dict[str, torch.Tensor]) -> None:
        names = [name.replace(COMPILED, "") for name, _ in loop.method.named_parameters()]
        bad = [name for name in names if not torch.isfinite(weights[METHOD_PREFIX + name]).all()]
        if bad:
            raise TrainingDivergedError(
                f"weights are NaN or infinite after step {loop.step}: {bad[:3]}. {self._last_good()}"
            )

    def _last_good(self) -> str:
        return (
            f"The last good checkpoint is of step {self._saved_step}"
            if self._saved_step
            else "No checkpoint was saved yet"
        )
