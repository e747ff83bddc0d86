"""Motions of image planes: translations of the torus, and rotations about the centre.

Angles are degrees here, counter-clockwise on screen (rows point down), as flows of images are quoted in degrees per
frame. Positive translations move content right and down.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

QUARTER = 90.0


def distinct_turns(step: float, radius: int) -> list[float]:
    """Return −radius..radius steps in degrees, ascending; of angles that are the same turn, the last.

    Args:
        step: degrees.
        radius: steps to either side.
    """
    angles = [step * k for k in range(-radius, radius + 1)]
    return [a for i, a in enumerate(angles) if (a % 360) not in [b % 360 for b in angles[i + 1 :]]]


def roll_plane(x: Tensor, right: int, down: int) -> Tensor:
    """Move content on the torus by whole pixels; exact.

    Args:
        x: (..., H, W).
        right: pixels.
        down: pixels.
    """
    right, down = right % x.shape[-1], down % x.shape[-2]
    return x.roll((down, right), (-2, -1)) if right or down else x


def rotate_plane(x: Tensor, degrees: float) -> Tensor:
    """Rotate content about the centre: bilinear, zero outside; multiples of 90° are exact.

    Args:
        x: (..., S, S).
        degrees: counter-clockwise on screen.

    Raises:
        ValueError: for a plane that is not square.
    """
    _check_square(x)
    turns, rest = divmod(degrees, QUARTER)
    if rest == 0.0:
        return x.rot90(int(turns) % 4, (-2, -1)) if turns % 4 else x
    planes = x.reshape(1, -1, *x.shape[-2:])
    return _resample(planes, torch.tensor([degrees], dtype=torch.float64)).view(x.shape)


def rotate_planes(x: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each plane by its own angle, bilinear, zero outside.

    Args:
        x: (N, S, S).
        degrees: (N,) counter-clockwise on screen.

    Raises:
        ValueError: for planes that are not square.
    """
    _check_square(x)
    return _resample(x.unsqueeze(1), degrees.double()).squeeze(1)


def _resample(planes: Tensor, degrees: Tensor) -> Tensor:
    """(N, C, S, S) by angles (N,): every output pixel reads where the inverse rotation takes it from."""
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = torch.stack([torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)], dim=-2)
    grid = F.affine_grid(rows, [len(rows), 1, *planes.shape[-2:]], align_corners=False)
    grid = grid.to(planes.device, planes.dtype)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _check_square(x: Tensor) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected square planes (..., S, S) to rotate, got shape {tuple(x.shape)}")
