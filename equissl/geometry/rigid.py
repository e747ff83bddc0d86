"""Rigid transforms as 4x4 matrices ``[R t; 0 1]`` acting on column vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.geometry.rotations import _check, relative_rotation


def rigid(rotmat: Tensor, translation: Tensor) -> Tensor:
    """Build ``x -> R x + t``: rotation first, then translation.

    Args:
        rotmat: (..., 3, 3) rotation matrices.
        translation: (..., 3) translations; batch dimensions broadcast.

    Returns:
        (..., 4, 4) matrices.
    """
    _check("rotmat", rotmat, 3, 3)
    _check("translation", translation, 3)
    batch = torch.broadcast_shapes(rotmat.shape[:-2], translation.shape[:-1])
    top = torch.cat((rotmat.expand(*batch, 3, 3), translation.expand(*batch, 3)[..., None]), dim=-1)
    bottom = top.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*batch, 1, 4)
    return torch.cat((top, bottom), dim=-2)


def rigid_inverse(matrix: Tensor) -> Tensor:
    """Inverse ``[Rᵀ -Rᵀt; 0 1]`` of rigid transforms (..., 4, 4), exact to rounding, without a linear solve."""
    _check("matrix", matrix, 4, 4)
    transposed = matrix[..., :3, :3].transpose(-1, -2)
    return rigid(transposed, -(transposed * matrix[..., None, :3, 3]).sum(dim=-1))


def relative_rigid(matrix1: Tensor, matrix2: Tensor) -> Tensor:
    """Compute ``M12 = M1⁻¹ M2``, so that ``M2 = M1 M12``; its translation is ``R1ᵀ (t2 - t1)``.

    Args:
        matrix1: (..., 4, 4) pose in the first view.
        matrix2: (..., 4, 4) pose in the second view; batch dimensions broadcast.

    Returns:
        (..., 4, 4) relative transforms.
    """
    _check("matrix1", matrix1, 4, 4)
    _check("matrix2", matrix2, 4, 4)
    rotmat1 = matrix1[..., :3, :3]
    # Subtracting first keeps the digits of a small motion far away from the origin.
    shift = (matrix2[..., :3, 3] - matrix1[..., :3, 3])[..., None]
    return rigid(relative_rotation(rotmat1, matrix2[..., :3, :3]), (rotmat1 * shift).sum(dim=-2))


def transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply rigid transforms to point clouds.

    Args:
        matrix: (..., 4, 4) rigid transforms.
        points: (..., N, 3) points; batch dimensions broadcast with those of ``matrix``.

    Returns:
        (..., N, 3) moved points.
    """
    _check("matrix", matrix, 4, 4)
    _check("points", points, 3)
    if points.ndim < 2:
        raise ValueError(f"expected points of shape (..., N, 3), got {tuple(points.shape)}")
    columns = matrix[..., None, :3, :].unbind(dim=-1)
    moved = columns[3]
    for axis in range(3):
        moved = moved + points[..., axis, None] * columns[axis]
    return moved
