"""Batch statistics over all processes.

Convention: a method gathers its embeddings, and every process computes the same loss of the global batch. The backward
    of
`gather` sums the processes' gradients and `DistributedDataParallel` then averages over processes, which together give
exactly the gradient of one process on the joined batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # Every process holds a loss that depends on this process' rows, so their gradients add up.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(world_size())[dist.get_rank()]


class _AllReduceMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x / world_size()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _AllReduceMean.forward(ctx, grad)  # the mean is its own adjoint


def _check_even(x: Tensor) -> None:
    shape = torch.tensor([x.shape[0], x.numel()], device=x.device)
    shapes = [torch.empty_like(shape) for _ in range(world_size())]
    dist.all_gather(shapes, shape)
    sizes = [tuple(s.tolist()) for s in shapes]
    if len(set(sizes)) > 1:
        raise ValueError(
            "gather needs equal shapes on every process, got (batch size, elements) "
            + ", ".join(f"{size} on rank {rank}" for rank, size in enumerate(sizes))
            + "; drop the last incomplete batch"
        )


def gather(x: Tensor) -> Tensor:
    """Gather along dimension 0 from all processes, with gradients.

    Args:
        x: (B_local, ...) with the same shape on every process.

    Returns:
        (B_local * world size, ...) in rank order; ``x`` itself without a process group or with one process.

    Raises:
        ValueError: on every process, naming all sizes, where local batches differ (instead of a deadlock).
    """
    if x.ndim == 0:
        raise ValueError("expected x of shape (B, ...), got a scalar")
    if world_size() == 1:
        return x
    _check_even(x)
    return _Gather.apply(x.contiguous())


def own_rows(x: Tensor) -> Tensor:
    """Take the rows of this process from a table of the global batch, such as noise that every process draws alike.

    Args:
        x: (B_local * world size, ...) in rank order.

    Returns:
        (B_local, ...); ``x`` itself without a process group or with one process.

    Raises:
        ValueError: for rows that the processes cannot share evenly.
    """
    world = world_size()
    if x.ndim == 0 or len(x) % world:
        raise ValueError(f"expected a multiple of {world} rows, one share for each process, got {tuple(x.shape)}")
    return x if world == 1 else x.chunk(world)[dist.get_rank()]


def all_reduce_mean(x: Tensor) -> Tensor:
    """Average over processes with gradients; ``x`` itself without a process group or with one process.

    Args:
        x: tensor of one shape on every process, such as the mean of a local batch.
    """
    return x if world_size() == 1 else _AllReduceMean.apply(x)
