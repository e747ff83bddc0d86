"""Momentum teachers: a moving average of a network's weights (BYOL, MoCo)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def make_teacher(student: M) -> M:
    """Copy a network without gradient; update the copy with `ema_update`."""
    return copy.deepcopy(student).requires_grad_(False)


def _pairs(
    kind: str, teacher: Iterable[tuple[str, Tensor]], student: Iterable[tuple[str, Tensor]]
) -> list[tuple[str, Tensor, Tensor]]:
    old, new = dict(teacher), dict(student)
    different = sorted(
        k for k in old.keys() | new.keys() if k not in old or k not in new or old[k].shape != new[k].shape
    )
    if different:
        raise ValueError(f"teacher and student differ in {len(different)} {kind}: {', '.join(different[:5])}")
    return [(name, old[name], new[name]) for name in old]


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, momentum: float, copy_buffers: bool = True) -> None:
    """``teacher = momentum * teacher + (1 - momentum) * student`` for parameters; buffers are copied, not averaged.

    BYOL and MoCo v3 update after the optimiser step, MoCo v1 and v2 before the keys are computed.

    Args:
        teacher: network to update in place, with parameters in float32 or float64.
        student: network of the same structure (unwrapped from `DistributedDataParallel`).
        momentum: 0 copies the student, 1 keeps the teacher's parameters.
        copy_buffers: leave out for a teacher that keeps the statistics of what it has seen itself.

    Raises:
        ValueError: for a momentum outside [0, 1], networks that differ in names or shapes, or a teacher in half
            precision, where small steps would round to nothing.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"expected a momentum in [0, 1], got {momentum}")
    parameters = _pairs("parameters", teacher.named_parameters(), student.named_parameters())
    buffers = _pairs("buffers", teacher.named_buffers(), student.named_buffers())
    half = [name for name, old, _ in parameters if old.dtype in (torch.float16, torch.bfloat16)]
    if half:
        raise ValueError(f"expected the teacher in float32 or float64, got half precision in {', '.join(half[:5])}")
    for _, old, new in parameters:
        old.lerp_(new.to(old), 1 - momentum)
    for _, old, new in buffers if copy_buffers else []:
        old.copy_(new)


def cosine_momentum(step: int, total: int, start: float = 0.996, end: float = 1.0) -> float:
    """Momentum of a step on the half cosine from ``start`` at step 0 to ``end`` at step ``total`` and later.

    Args:
        step: step of the run, from 0.
        total: steps of the run.
        start: momentum at step 0.
        end: momentum at step ``total`` and later.

    Raises:
        ValueError: for a negative step, or a total below 1.
    """
    if step < 0 or total < 1:
        raise ValueError(f"expected step >= 0 and total >= 1, got {step} and {total}")
    return end - (end - start) * (1 + math.cos(math.pi * min(step / total, 1.0))) / 2
