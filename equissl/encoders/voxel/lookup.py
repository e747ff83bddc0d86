"""Lookup of a deeper stage's features by voxel or point."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.sparse import SparseTensor, Voxels


def locate(stage: SparseTensor, voxels: Tensor) -> Tensor:
    """Find the rows (M,) of ``stage`` that voxels (M, 4) of the input lie in; -1 where the site is not active.

    The site is the voxel's index over the stride, at most the last: right for the strides of the voxel backbones and
    for their BEV columns. Every input voxel of a grid whose layers all reach the output (40 along z do) has one.

    Args:
        stage: an output of a voxel backbone, or its `bev_columns`.
        voxels: batch, z, y, x on the voxeliser's grid.
    """
    stride = torch.tensor([1, *stage.stride], device=voxels.device)
    last = torch.tensor([stage.batch_size, *stage.spatial_shape], device=voxels.device) - 1
    return stage.sites.find(torch.minimum(voxels.div(stride, rounding_mode="floor"), last))


def locate_points(stage: SparseTensor, voxels: Voxels) -> Tensor:
    """Find the rows (P,) of ``stage`` that the points of all clouds, joined, lie in; -1 for those out of range.

    Args:
        stage: features of a deeper stage.
        voxels: voxels of the input, with the points' rows.
    """
    if len(voxels.tensor) == 0:
        return torch.full_like(voxels.point_to_voxel, -1)
    rows = locate(stage, voxels.tensor.indices)[voxels.point_to_voxel]
    return torch.where(voxels.point_to_voxel >= 0, rows, -1)
