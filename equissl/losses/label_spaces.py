"""Spaces of continuous labels: distances, and the labels in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.geometry import rotmat_to_unitquat, unitquat_angle


@dataclass(frozen=True)
class LabelSpace:
    """Labels with shortest paths between them. Coordinates are (..., C); leading dimensions broadcast.

    Attributes:
        coordinates: labels (B, V, ...) to their coordinates (B, V, C).
        distance: length (...) of the shortest path between two labels.
        between: the label (..., C) at a fraction (...) of the shortest path from the first label to the second.
    """

    coordinates: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]
    between: Callable[[Tensor, Tensor, Tensor], Tensor]


def _scalar_coordinates(labels: Tensor) -> Tensor:
    return labels[..., None] if labels.ndim == 2 else labels


def _straight(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    return a + fraction[..., None] * (b - a)


def _length(a: Tensor, b: Tensor) -> Tensor:
    # Not `vector_norm`, whose compiled shape is wrong for one coordinate; labels need no gradient at 0.
    return (a - b).square().sum(dim=-1).sqrt()


def _turn(a: Tensor, b: Tensor) -> Tensor:
    """Shortest turn from each angle of a to that of b, in [-pi, pi)."""
    return (b - a + math.pi).remainder(2 * math.pi) - math.pi


def _torus_length(a: Tensor, b: Tensor) -> Tensor:
    return _turn(a, b).square().sum(dim=-1).sqrt()


def _torus_between(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    return a + fraction[..., None] * _turn(a, b)


def slerp(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate rotations at a fraction of the shortest turn from one to another, at constant speed.

    Args:
        a: (..., 4) unit quaternions xyzw.
        b: (..., 4) unit quaternions xyzw; leading dimensions broadcast.
        fraction: (...) in [0, 1].

    Returns:
        (..., 4) unit quaternions. Where the two differ by a half turn, one of the two shortest paths.
    """
    b = torch.where((a * b).sum(dim=-1, keepdim=True) < 0, -b, b)
    half = unitquat_angle(a, b)[..., None] / 2
    fraction = fraction[..., None]
    # Below this angle the sines' ratio is the fraction to working precision.
    close = half < 1e-4
    sine = torch.where(close, torch.ones_like(half), half.sin())
    start = torch.where(close, 1 - fraction, ((1 - fraction) * half).sin() / sine)
    end = torch.where(close, fraction, (fraction * half).sin() / sine)
    return start * a + end * b


SCALARS = LabelSpace(_scalar_coordinates, _length, _straight)
"""Labels (B, V), or vectors (B, V, C) with Euclidean distance."""

ANGLES = LabelSpace(_scalar_coordinates, _torus_length, _torus_between)
"""Angles (B, V) or (B, V, C), radians, such as hues: the shorter arc, and the root of squares over several angles."""

ROTATIONS = LabelSpace(rotmat_to_unitquat, unitquat_angle, slerp)
"""Rotation matrices (B, V, 3, 3) with their geodesic angle, radians."""
