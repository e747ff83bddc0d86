"""Strategies for sharing a run's work among processes: one alone, copies of the method, or shards of it.

Every process computes the loss of the global batch from its own part (the losses gather embeddings), so gradients are
averaged over processes in each strategy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from equissl.methods.base import Method
from equissl.runs.config import ConfigError, TrainerConfig
from equissl.training.launch import join_processes, leave_processes


class Step(nn.Module):
    """Module whose forward is ``method.step``, or another phase's step, the form that torch's wrappers take.

    It returns the fields of a `StepOutput` as a dictionary, in which the wrappers find the tensors; `fully_shard` would
    see none in a dataclass, and leave the gradients of the last shards unreduced.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Any, step: str = "step") -> dict[str, Any]:
        return vars(getattr(self.method, step)(batch))


class Single:
    """One process, which trains the method itself.

    Args:
        device: of this process.
        trainer: number of processes and precision.
    """

    rank, world_size = 0, 1

    def __init__(self, device: torch.device, trainer: TrainerConfig) -> None:
        self.device = device

    def wrap(self, method: Method) -> nn.Module:
        """Wrap the method, moved to its device in place, in a module whose forward is a training step."""
        return Step(method.to(self.device))

    def accumulating(self, module: nn.Module, final: bool) -> AbstractContextManager[Any]:
        """Wrap forward and backward of one of several batches of a step; gradients are exchanged in the final one.

        Args:
            module: the wrapped method.
            final: True for the last batch of the step.
        """
        return contextlib.nullcontext()

    def whole(self, tree: Any) -> Any:
        """Join every tensor that is spread over processes in nested data; all processes have to call it."""
        return tree

    def spread(self, optimizer: torch.optim.Optimizer) -> None:
        """Spread the state of an optimiser that was just loaded as its parameters are."""

    def largest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of all processes for each value; they wait for each other, the GPU does not."""
        return list(values)

    def gather(self, value: Any) -> list[Any]:
        """Gather plain data of every process, by rank."""
        return [value]

    def barrier(self) -> None:
        """Wait for all processes."""

    def close(self) -> None:
        """Leave the group of processes."""


class _Several(Single):
    """Base of strategies of several processes: a group for gradients, and one for plain data in host memory."""

    def __init__(self, device: torch.device, trainer: TrainerConfig) -> None:
        super().__init__(device, trainer)
        self._joined = join_processes(device, trainer)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._host = dist.new_group(backend="gloo") if device.type == "cuda" else None

    def largest(self, values: Sequence[float]) -> list[float]:
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._host)
        return found.tolist()

    def gather(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value, group=self._host)
        return found

    def barrier(self) -> None:
        dist.barrier(group=self._host)

    def close(self) -> None:
        if self._joined:
            leave_processes()


class DataParallel(_Several):
    """A copy of the method in each process, by `DistributedDataParallel`; the first one's buffers are everyone's."""

    def wrap(self, method: Method) -> nn.Module:
        ids = [self.device.index] if self.device.type == "cuda" else None
        # the loss of one phase need not depend on what another one moves
        several = len(method.phases) > 1
        return nn.parallel.DistributedDataParallel(
            super().wrap(method), ids, gradient_as_bucket_view=True, find_unused_parameters=several
        )

    def accumulating(self, module: nn.Module, final: bool) -> AbstractContextManager[Any]:
        assert isinstance(module, nn.parallel.DistributedDataParallel)
        return contextlib.nullcontext() if final else module.no_sync()


class Sharded(_Several):
    """Parameters, gradients and optimiser state in shards, by `torch.distributed.fsdp.fully_shard` (FSDP2).

    The method is one unit, which is gathered for a step and let go after it: its parts may call each other as they
    like. Checkpoints hold whole tensors, so that any strategy reads them. Buffers are a copy in each process, and
    weights are in the plain memory format, the only one that can be cut.

    Raises:
        ConfigError: precision 16, whose loss scale every process would choose for itself.
    """

    def __init__(self, device: torch.device, trainer: TrainerConfig) -> None:
        if trainer.precision == "16":
            raise ConfigError("expected trainer.precision bf16 or 32 with strategy fsdp, got 16")
        super().__init__(device, trainer)

    def wrap(self, method: Method) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        module = super().wrap(method)
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in torch's stubs
        fully_shard(module, mesh=init_device_mesh(self.device.type, (self.world_size,)))
        return module

    def accumulating(self, module: nn.Module, final: bool) -> AbstractContextManager[Any]:
        module.set_requires_gradient_sync(final)  # type: ignore[operator]  # fully_shard adds the method
        return contextlib.nullcontext()

    def whole(self, tree: Any) -> Any:
        from torch.distributed.tensor import DTensor

        return tree_map_only(DTensor, lambda shard: shard.detach().full_tensor(), tree)

    def spread(self, optimizer: torch.optim.Optimizer) -> None:
        from torch.distributed.tensor import DTensor, distribute_tensor

        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = distribute_tensor(value, parameter.device_mesh, parameter.placements)


STRATEGIES: dict[str, type[Single]] = {"single": Single, "ddp": DataParallel, "fsdp": Sharded}


def create_strategy(device: torch.device, trainer: TrainerConfig) -> Single:
    """Create the strategy of a config; ``auto`` is ``ddp`` for several processes.

    Args:
        device: of this process.
        trainer: strategy and number of processes.
    """
    several = trainer.devices * trainer.nodes > 1
    name = trainer.strategy if trainer.strategy != "auto" else "ddp" if several else "single"
    return STRATEGIES[name](device, trainer)
