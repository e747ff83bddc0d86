"""Rotations spread evenly over SO(3), and those near a rotation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.geometry.rotations import unitquat_to_rotmat

# The positive real root of x⁴ = x + 4.
_PSI = 1.533751168755204288118041


def rotation_grid(count: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
    """Compute super-Fibonacci spirals of rotations (Alexa, CVPR 2022): any number of them, and no draw.

    Neighbours are about ``360° / count^(1/3)`` apart or less.

    Args:
        count: n, at least 1.
        dtype: floating dtype of the result.
        device: of the result.

    Returns:
        (n, 3, 3) rotation matrices.

    Raises:
        ValueError: for a count below 1.
    """
    if count < 1:
        raise ValueError(f"expected at least 1 rotation, got {count}")
    place = torch.arange(count, dtype=torch.float64, device=device) + 0.5
    inner, outer = (place / count).sqrt(), (1 - place / count).sqrt()
    first, second = 2 * math.pi * place / math.sqrt(2), 2 * math.pi * place / _PSI
    quats = torch.stack([inner * first.sin(), inner * first.cos(), outer * second.sin(), outer * second.cos()], dim=1)
    return unitquat_to_rotmat(quats).to(dtype)


def rotations_near_identity(
    reach: float, steps: int = 2, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Tensor:
    """Compute rotations on a lattice of rotation vectors about 0, the identity among them.

    Args:
        reach: largest component of the rotation vectors, radians.
        steps: lattice points on either side of 0 along each axis.
        dtype: floating dtype of the result.
        device: of the result.

    Returns:
        ((2 steps + 1)³, 3, 3) rotation matrices.

    Raises:
        ValueError: for a reach or a number of steps that is not positive.
    """
    if not reach > 0 or steps < 1:
        raise ValueError(f"expected a positive reach and at least 1 step, got {reach} and {steps}")
    line = torch.linspace(-reach, reach, 2 * steps + 1, dtype=torch.float64, device=device)
    half = torch.cartesian_prod(line, line, line) / 2
    length = half.norm(dim=1, keepdim=True)
    quats = torch.cat([half * torch.sinc(length / math.pi), length.cos()], dim=1)
    return unitquat_to_rotmat(quats).to(dtype)
