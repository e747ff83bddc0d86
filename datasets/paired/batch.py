"""Batch types of objects in two or three modalities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch

Batch = TypeVar("Batch", bound="_Tensors")


class _Tensors:
    """A frozen dataclass of tensors with B rows, which move together; other values stay."""

    def _map(self: Batch, function: Callable[[Any], Any]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        changed = {name: function(value) for name, value in values.items() if value is not None}
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self: Batch, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the same batch on ``device``.

        Args:
            device: to move to.
            non_blocking: do not wait for the copy.
        """
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self: Batch) -> Batch:
        return self._map(lambda value: value.pin_memory())


@dataclass(frozen=True)
class CloudBatch(_Tensors):
    """C point clouds of each of B objects.

    Attributes:
        points: (B, C, P, 3) float32.
        normals: (B, C, P, 3), unit.
        colours: (B, C, P, 3) sRGB in 0..1, without light.
        rotations: (B, C, 3, 3) active rotation that was applied to the object's own reference frame: the identity for a
            cloud in the object's frame, the view's rotation for one in a view's.

    Raises:
        ValueError: for other shapes.
    """

    points: Tensor
    normals: Tensor
    colours: Tensor
    rotations: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim != 4 or self.points.shape[-1] != 3:
            raise ValueError(f"expected points of shape (B, C, P, 3), got {tuple(self.points.shape)}")
        shape = tuple(self.points.shape)
        expected = {"normals": shape, "colours": shape, "rotations": (*shape[:2], 3, 3)}
        _check_shapes(self, expected)

    def __len__(self) -> int:
        return self.points.shape[0]


@dataclass(frozen=True)
class TextBatch(_Tensors):
    """T texts of each of B objects, the first as it is, the others augmented.

    Attributes:
        tokens: (B, T, L) int64 of a tokenizer, filled up with its `PAD`, 0.
        lengths: (B, T) int64 tokens of each text.

    Raises:
        ValueError: for other shapes or types.
    """

    tokens: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3 or self.tokens.dtype != torch.int64:
            raise ValueError(
                f"expected int64 tokens of shape (B, T, L), got {self.tokens.dtype} {tuple(self.tokens.shape)}"
            )
        _check_shapes(self, {"lengths": tuple(self.tokens.shape[:2])})

    def __len__(self) -> int:
        return self.tokens.shape[0]


@dataclass(frozen=True)
class PairedBatch(_Tensors):
    """B objects in at least two modalities.

    Attributes:
        views: V images of each, or None.
        clouds: C point clouds of each, or None.
        texts: T texts of each, or None.
        labels: (B,) class index; -1 for objects without a class.
        objects: (B,) index of each object in its store.

    Raises:
        ValueError: for fewer than two modalities, or another number of objects in one of them.
    """

    views: ViewBatch | None
    clouds: CloudBatch | None
    texts: TextBatch | None
    labels: Tensor
    objects: Tensor

    def __post_init__(self) -> None:
        if len(self.modalities) < 2:
            raise ValueError(f"expected at least two of views, clouds and texts, got {list(self.modalities) or 'none'}")
        _check_shapes(self, {"objects": (len(self),), "labels": (len(self),)})
        for name in self.modalities:
            if (count := len(getattr(self, name))) != len(self):
                raise ValueError(f"expected {name} of {len(self)} objects, got {count}")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that are there, in the order ``views``, ``clouds``, ``texts``."""
        return tuple(name for name in ("views", "clouds", "texts") if getattr(self, name) is not None)

    def __len__(self) -> int:
        return self.labels.shape[0]


def _check_shapes(batch: Any, expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if tuple(getattr(batch, name).shape) != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {tuple(getattr(batch, name).shape)}")
