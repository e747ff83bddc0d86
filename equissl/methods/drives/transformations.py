"""Classification of a sweep's transformation: its distribution, its labels, and the classifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.geometry.sweep_transforms import (
    SweepTransform,
    TransformRanges,
    flip_class,
    rotation_class,
    scale_class,
    translation_class,
)
from equissl.losses import full_precision
from equissl.methods.drives.heads import PooledHead

Transformation = Literal["rotation", "translation", "scale", "flip"]
TRANSFORMATIONS: tuple[Transformation, ...] = ("rotation", "translation", "scale", "flip")
Target = Literal["absolute", "relative"]


def only(ranges: TransformRanges, kept: Iterable[str]) -> TransformRanges:
    """Switch off all transformations but some.

    Args:
        ranges: of all transformations.
        kept: names of those that stay.

    Raises:
        ValueError: for an unknown one.
    """
    if unknown := sorted(set(kept) - set(TRANSFORMATIONS)):
        raise ValueError(f"expected transformations among {', '.join(TRANSFORMATIONS)}, got {', '.join(unknown)}")
    if "rotation" not in kept:
        ranges = replace(ranges, rotation=(0.0, 0.0))
    if "translation" not in kept:
        ranges = replace(ranges, translation=(0.0, 0.0))
    if "scale" not in kept:
        ranges = replace(ranges, scale=(1.0, 1.0))
    return ranges if "flip" in kept else replace(ranges, flip=0.0, flip_x=0.0)


class TransformationClassifier(nn.Module):
    """Classifier of the bin of one transformation from pooled features.

    Args:
        name: which transformation.
        ranges: from which it is drawn; the bins divide them equally. Rotation has ``ranges.rotation_bins`` of them.
        dim: size of the pooled features of one view.
        hidden: sizes of the hidden layers.
        bins: bins of scale and of each axis of translation.
        target: ``absolute``, from one view, or ``relative``, from two: what takes the first to the second. Differences
            (ratios of scales, and whether just one view is mirrored) have as many bins, over all that can occur.

    Raises:
        ValueError: where nothing is drawn that could be told.
    """

    def __init__(
        self,
        name: Transformation,
        ranges: TransformRanges,
        dim: int,
        hidden: Sequence[int] = (256, 256),
        bins: int = 5,
        target: Target = "absolute",
    ) -> None:
        super().__init__()
        if target not in ("absolute", "relative"):
            raise ValueError(f"expected target 'absolute' or 'relative', got {target!r}")
        self.name, self.ranges, self.target, self.bins = name, ranges, target, bins
        self.both_axes = ranges.flip_x > 0
        self.classes = {"rotation": ranges.rotation_bins, "flip": 4 if self.both_axes else 2}.get(name, bins)
        self.axes = 3 if name == "translation" else 1
        self._check_range()
        self.layers = PooledHead(dim * (2 if target == "relative" else 1), hidden, self.axes * self.classes)

    def forward(self, *pooled: Tensor) -> Tensor:
        """Compute the logits (B, axes, classes) from (B, D) of one view, or of two for relative targets."""
        return self.layers(torch.cat(pooled, dim=1)).unflatten(1, (self.axes, self.classes))

    def labels(self, transform: SweepTransform, first: SweepTransform | None = None) -> Tensor:
        """Compute the classes (B, axes) of transforms.

        Args:
            transform: transform of the views.
            first: transforms of the first views, for relative targets.

        Raises:
            ValueError: for relative targets without ``first``.
        """
        if self.target == "absolute":
            value, (low, high) = self._value(transform), self._range()
        elif first is None:
            raise ValueError("expected the first views' transforms, which relative targets are measured from")
        else:
            value, (low, high) = self._difference(transform, first), self._range()
        if self.name == "flip":
            return flip_class(value, self.both_axes)[:, None]
        if self.name == "translation":
            return translation_class(value, self.bins, low, high)
        classify = rotation_class if self.name == "rotation" else scale_class
        return classify(value, self.classes, low, high)[:, None]

    def _value(self, transform: SweepTransform) -> Tensor:
        return {
            "rotation": transform.angle,
            "flip": transform.flip,
            "scale": transform.scale,
            "translation": transform.shift,
        }[self.name]

    def _difference(self, transform: SweepTransform, first: SweepTransform) -> Tensor:
        value, start = self._value(transform), self._value(first)
        return {"flip": lambda: value ^ start, "scale": lambda: value / start}.get(self.name, lambda: value - start)()

    def _range(self) -> tuple[float, float]:
        if self.name == "flip":
            return 0.0, 1.0
        low, high = getattr(self.ranges, self.name)
        if self.target == "absolute":
            return low, high
        return (low / high, high / low) if self.name == "scale" else (low - high, high - low)

    def _check_range(self) -> None:
        low, high = self._range()
        if not low < high or (self.name == "flip" and max(self.ranges.flip, self.ranges.flip_x) == 0):
            raise ValueError(f"cannot classify {self.name}: nothing is drawn, {self.ranges}")


@full_precision
def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy, mean over sweeps and axes.

    Args:
        logits: (B, axes, classes).
        labels: (B, axes).
    """
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


@torch.no_grad()
def classification_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the share of right answers.

    Args:
        logits: (B, axes, classes).
        labels: (B, axes).
    """
    return (logits.argmax(-1) == labels).float().mean()


def crop_front(clouds: Sequence[Tensor], degrees: float) -> tuple[Tensor, ...]:
    """Crop clouds to a horizontal field of view about the x axis, as of a camera that looks ahead.

    Args:
        clouds: (P, 3+) each.
        degrees: angle of the field of view.
    """
    half = torch.pi * degrees / 360
    return tuple(cloud[torch.atan2(cloud[:, 1], cloud[:, 0]).abs() <= half] for cloud in clouds)
