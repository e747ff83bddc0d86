"""The training loop: forward, backward, step, for as many optimiser steps as the run has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from equissl.methods.base import Method, Phase, StepOutput
from equissl.runs.checkpoint import COMPILED, METHOD_PREFIX
from equissl.runs.config import OptimConfig
from equissl.training.observers import Observer, load_observer_states, observer_states
from equissl.training.optimizer import create_optimizer, follow_schedule
from equissl.training.phases import check_phases, joined, still_parameters
from equissl.training.schedule import position
from equissl.training.strategies import Single

AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}


class Loop:
    """One method with its optimiser, and the observers of its training.

    Attributes:
        step: optimiser steps done.
        batch: batches of the run before the present one.
        output: result of the last batch, its loss without the graph; None before the first.
        stop: set by an observer to end after the present batch.

    Args:
        method: what to train, in place.
        optim: optimiser and schedule.
        strategy: device and processes.
        last_step: optimiser steps of the whole run.
        precision: 32, bf16 or 16.
        accumulate: batches in one optimiser step.
        observers: in the order in which their hooks are called; one that saves comes last.
        epoch: batches in a pass over the data, for schedules that move once a pass.
    """

    def __init__(
        self,
        method: Method,
        optim: OptimConfig,
        strategy: Single,
        last_step: int,
        precision: str = "32",
        accumulate: int = 1,
        observers: Sequence[Observer] = (),
        epoch: int = 1,
    ) -> None:
        self.epoch = epoch
        check_phases(method, accumulate)
        self.method, self.optim, self.strategy, self.last_step = method, optim, strategy, last_step
        self.precision, self.accumulate, self.observers = precision, accumulate, list(observers)
        self.device = strategy.device
        self.module = strategy.wrap(method)
        self.optimizer = create_optimizer(method, optim)
        self.phases = [(phase, still_parameters(method, phase)) for phase in method.phases]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "16")
        self.step = self.batch = 0
        self.output: StepOutput | None = None
        self.stop = False

    @property
    def first_process(self) -> bool:
        """True in the process that writes files."""
        return self.strategy.rank == 0

    @property
    def stepped(self) -> bool:
        """True where the optimiser moves after the present batch, and not only gradients are accumulated."""
        return (self.batch + 1) % self.accumulate == 0

    def fit(self, batches: Iterable[Any], state: dict[str, Any] | None = None) -> None:
        """Train until the last step, or until an observer stops it.

        Args:
            batches: an endless stream that begins at the batch to continue with.
            state: from `state`, of the checkpoint to continue from; weights have to be in the method already.
        """
        self.step = state["step"] if state else 0
        self.batch = self.step * self.accumulate
        try:
            self._start(state)
            stream = iter(batches)
            while self.step < self.last_step and not self.stop:
                self.advance(next(stream))
            for observer in self.observers:
                observer.on_end(self)
        except BaseException as error:
            for observer in self.observers:
                observer.on_error(self, error)
            raise

    def advance(self, batch: Any) -> None:
        """Train on one batch.

        Args:
            batch: as the loader gives it.
        """
        batch = self._received(batch)
        for observer in self.observers:
            observer.before_batch(self, batch)
        self.output = joined([self._update(batch, phase, still) for phase, still in self.phases])
        if self.stepped:
            self.method.after_step(self.step, self.last_step)
            self.step += 1
        for observer in self.observers:
            observer.after_batch(self, batch)
        self.batch += 1

    def state(self) -> dict[str, Any]:
        """Return the loop's part of a checkpoint. All processes have to call it."""
        weights = {METHOD_PREFIX + k.replace(COMPILED, ""): v for k, v in self.method.state_dict().items()}
        return {
            "state_dict": self.strategy.whole(weights),
            "optimizer": self.strategy.whole(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "observers": observer_states(self.observers),
            "step": self.step,
        }

    def _start(self, state: dict[str, Any] | None) -> None:
        for observer in self.observers:
            observer.on_start(self)
        if state:
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint; here alone it goes from host memory to the device."""
        # the optimiser moves its own state, and leaves the count of its steps on the host where it belongs there
        self.optimizer.load_state_dict(copied_to(state["optimizer"], "cpu"))
        self.strategy.spread(self.optimizer)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        load_observer_states(self.observers, copied_to(state["observers"], self.device))

    def _received(self, batch: Any) -> Any:
        return batch if self.device.type == "cpu" else batch.to(self.device, non_blocking=True)

    def _update(self, batch: Any, phase: Phase, still: Sequence[nn.Parameter]) -> StepOutput:
        """Make one of the updates of a batch; where gradients are accumulated, their last batch does."""
        output = self._differentiate(batch, phase)
        for parameter in still:
            parameter.grad = None  # the optimiser passes over it, and leaves its moments as they are
        if self.stepped:
            self._take_step()
        return output

    def _differentiate(self, batch: Any, phase: Phase) -> StepOutput:
        """Add the gradients of a batch to those of the step."""
        if self.batch % self.accumulate == 0:
            self.optimizer.zero_grad()
        with self.strategy.accumulating(self.module, final=self.stepped):
            with self._autocast():
                output = StepOutput(**self.module(batch, phase.step))
            self.scaler.scale(output.loss / self.accumulate).backward()
        return replace(output, loss=output.loss.detach())  # holding the loss itself would hold its graph

    def _take_step(self) -> None:
        where = position(self.optim, self.batch, self.accumulate, self.last_step, self.epoch)
        follow_schedule(self.optimizer, self.optim, *where)
        if self.optim.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters(), self.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self.precision)
        # with a cache, the gradients of a weight that is used for two views would be added in half precision
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None, cache_enabled=False)


def copied_to(tree: Any, device: torch.device | str) -> Any:
    """Copy nested data, every tensor to ``device``: nothing keeps a memory-mapped file open.

    Args:
        tree: nested dictionaries, lists and tuples.
        device: of the copies.
    """
    return tree_map_only(Tensor, lambda tensor: tensor.to(device, copy=True), tree)
