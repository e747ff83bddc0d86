"""Saves the run now and then, and stops it when the loss is no longer a number or when it is asked to."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from equissl.runs.checkpoint import LAST, OURS
from equissl.runs.config import TrainerConfig
from equissl.training.metriclog import MetricLog
from equissl.training.module import PretrainModule
from equissl.util.randomstate import random_state, seed_everything, set_random_state


class TrainingDivergedError(RuntimeError):
    """The loss or a weight is NaN or infinite."""


class CheckpointSaver(pl.Callback):
    """Writes checkpoints/last.ckpt every N steps or M minutes and at the end; the file is whole at every moment.

    It also holds what a resumed run needs beside weights and optimiser: config, random states of all processes, views
    seen, versions. It comes last among the callbacks, so that a checkpoint holds their state after the step.

    Args:
        out: run folder.
        config: the resolved config as plain data.
        trainer: intervals.
        log: counts views.
        versions: of this program and torch.
        last_step: save after this one.
    """

    def __init__(
        self,
        out: Path,
        config: dict[str, Any],
        trainer: TrainerConfig,
        log: MetricLog,
        versions: dict[str, Any],
        last_step: int,
    ) -> None:
        self.out, self.config, self.trainer_config, self.curves = out, config, trainer, log
        self.versions, self.last_step = versions, last_step
        self.interrupted: int | None = None  # signal number, once one has come
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._handlers: dict[int, Any] = {}
        self._random: list[dict[str, Any]] | None = None
        self._checked = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_step = trainer.global_step
        if threading.current_thread() is threading.main_thread() and trainer.world_size == 1:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._random is None:
            return
        # here, and not earlier: nothing between this point and the step draws random numbers
        rank, states = trainer.global_rank, self._random
        if rank < len(states):
            set_random_state(states[rank])
        else:  # more processes than when it was saved
            seed_everything(hash((self.config["seed"], rank, trainer.global_step)))
        self._random = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step, stepped = trainer.global_step, pl_module.stepped(batch_idx)
        if pl_module.device.type == "cpu" or self.curves.due(step):  # reading the loss makes a GPU wait
            self._check_loss(pl_module, step)
        if not stepped:
            return
        if self._due(trainer, step):
            self._save(trainer, pl_module)
        if self.interrupted is not None:
            trainer.should_stop = True

    def _due(self, trainer: pl.Trainer, step: int) -> bool:
        if step == self.last_step or step % self.trainer_config.checkpoint_every == 0 or self.interrupted is not None:
            return True
        if trainer.world_size > 1 and not self.curves.due(
            step
        ):  # the processes must agree; asking each step would be slow
            return False
        late = time.monotonic() - self._saved_at > 60 * self.trainer_config.checkpoint_minutes
        return bool(trainer.strategy.broadcast(late)) if trainer.world_size > 1 else late

    def _save(self, trainer: pl.Trainer, module: PretrainModule) -> None:
        self._check_loss(module, trainer.global_step)
        self._check_weights(module, trainer.global_step)
        self._random = _all_random_states()
        final = self.out / LAST
        temporary = final.with_suffix(".tmp")
        try:
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                temporary.replace(final)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, f"cannot save {final} ({error.strerror}); {self._last_good()}") from error
        finally:
            self._random = None
        trainer.strategy.barrier()
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[OURS] = {
            "config": self.config,
            "step": trainer.global_step,
            "views": self.curves.views(trainer.global_step),
            "seconds": self.curves.seconds,
            "random": self._random,
            "versions": self.versions,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._random = checkpoint[OURS]["random"]

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore_handlers()

    def _check_loss(self, module: PretrainModule, step: int) -> None:
        output = module.output
        if output is None or torch.isfinite(output.loss):
            return
        terms = ", ".join(f"{name}={float(value):.4g}" for name, value in output.terms.items())
        raise TrainingDivergedError(
            f"the loss is {float(output.loss)} at step {step} ({terms}). {self._last_good()}. "
            "A smaller optim.lr or trainer.precision=32 may help"
        )

    def _check_weights(self, module: PretrainModule, step: int) -> None:
        bad = [name for name, weight in module.method.named_parameters() if not torch.isfinite(weight).all()]
        if bad:
            raise TrainingDivergedError(
                f"weights are NaN or infinite after step {step}: {bad[:3]}. {self._last_good()}"
            )

    def _last_good(self) -> str:
        return (
            f"The last good checkpoint is of step {self._saved_step}"
            if self._saved_step
            else "No checkpoint was saved yet"
        )

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.interrupted is not None:  # asked twice: at once
            raise KeyboardInterrupt
        self.interrupted = number

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _all_random_states() -> list[dict[str, Any]]:
    if not (dist.is_available() and dist.is_initialized()):
        return [random_state()]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, random_state())
    return states
