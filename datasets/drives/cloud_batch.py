"""Base of the batches of clouds of different sizes: their moves between devices and processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Clouds = tuple[Tensor, ...]
Batch = TypeVar("Batch", bound="CloudBatch")


@dataclass(frozen=True)
class CloudBatch:
    """Dataclass whose fields are tensors, tuples of one tensor for each item, or plain data in host memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Each field as one tensor: a loader's worker hands over every tensor with a file descriptor of its own, and a
        # batch of separate clouds, times the batches read ahead, would run out of them.
        return _unpack, (type(self), {f.name: _pack(getattr(self, f.name)) for f in fields(self)})

    def to(self: Batch, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the same batch on ``device``; what is no tensor stays in host memory.

        Args:
            device: to move to.
            non_blocking: do not wait for the copy.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Batch) -> Batch:
        """Return the same batch in page-locked memory, one block for each field."""
        packed = {f.name: _pack(getattr(self, f.name)) for f in fields(self)}
        return _unpack(type(self), {name: value.map(Tensor.pin_memory) for name, value in packed.items()})

    def _map(self: Batch, fn: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = fn(value)
            elif _is_clouds(value):
                changed[field.name] = tuple(fn(cloud) for cloud in value)
        return replace(self, **changed)


@dataclass(frozen=True)
class _Packed:
    """A field of a batch: clouds as one tensor and their sizes, anything else as it is."""

    value: Any
    sizes: tuple[int, ...] | None = None

    def map(self, fn: Callable[[Tensor], Tensor]) -> _Packed:
        return replace(self, value=fn(self.value)) if isinstance(self.value, Tensor) else self


def _is_clouds(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(isinstance(entry, Tensor) for entry in value)


def _pack(value: Any) -> _Packed:
    return _Packed(torch.cat(value), tuple(len(cloud) for cloud in value)) if _is_clouds(value) else _Packed(value)


def _unpack(kind: type[Batch], packed: dict[str, _Packed]) -> Batch:
    return kind(**{n: p.value if p.sizes is None else p.value.split(p.sizes) for n, p in packed.items()})
