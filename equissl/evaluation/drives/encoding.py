"""Frozen encoders of sweeps, and the clouds they encode."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.encoders.calibrate import calibrate
from equissl.encoders.voxel import VoxelEncoder, bev_columns, locate
from equissl.geometry.sweep_transforms import sweep_transform, transform_cloud
from equissl.sparse import SparseTensor


def rotate_cloud(cloud: Tensor, angle: float) -> Tensor:
    """Rotate a cloud (P, 3+) about z by ``angle`` radians; further columns stay as they are.

    Args:
        cloud: (P, 3+) points, x, y and z first.
        angle: in radians.
    """
    one = torch.ones(1, dtype=torch.float64)
    matrix = sweep_transform(angle * one, one, one.new_zeros(1, 3), one.new_zeros(1, dtype=torch.int64)).matrix[0]
    return transform_cloud(cloud, matrix.to(cloud))


def crop_wedge(cloud: Tensor, degrees: float) -> Tensor:
    """Crop a cloud to ``degrees`` around straight ahead, as a front camera sees it.

    Args:
        cloud: (P, 2+) points, x (forwards) and y first.
        degrees: full opening angle.
    """
    return cloud[torch.atan2(cloud[:, 1], cloud[:, 0]).abs() <= torch.pi * degrees / 360]


@dataclass
class SweepEncoder:
    """A method's frozen encoder in eval mode.

    Attributes:
        method: with an ``encoder`` (`VoxelEncoder`), ``bev_features`` and ``features``.
        device: where it is.
    """

    method: Any
    device: torch.device

    @property
    def encoder(self) -> VoxelEncoder:
        return self.method.encoder

    @torch.inference_mode()
    def bev(self, clouds: Sequence[Tensor]) -> SparseTensor:
        """Compute columns (M, D) of the occupied ground cells."""
        return self.method.bev_features([cloud.to(self.device) for cloud in clouds])

    @torch.inference_mode()
    def pooled(self, clouds: Sequence[Tensor]) -> Tensor:
        """Compute the representation (B, D) of whole sweeps, on the CPU."""
        return self.method.features([cloud.to(self.device) for cloud in clouds])["all"].float().cpu()

    def rows(self, bev: SparseTensor, cloud: Tensor, index: int) -> Tensor:
        """Return the row of ``bev`` that each point (P,) lies in; -1 out of range and on cells without features.

        Args:
            bev: bird's-eye features of a batch.
            cloud: (P, 3+) points of any cloud.
            index: of its sweep in the batch.
        """
        position, inside = self.encoder.grid.locate(cloud[:, :3].to(self.device))
        voxels = torch.cat([torch.full_like(position[:, :1], index), position], 1)
        return torch.where(inside, locate(bev, voxels), -1)

    @torch.inference_mode()
    def shifted_voxels(self, cloud: Tensor, voxels: int) -> tuple[SparseTensor, SparseTensor, int]:
        """Encode a cloud's voxels, and the same voxels shifted along x and y, both away from the borders.

        Args:
            cloud: (P, 3+) points.
            voxels: length of the shift along each axis.

        Returns:
            both, and the number of voxels left.
        """
        tensor = self.encoder.voxelize([cloud.to(self.device)]).tensor
        weight = next(self.encoder.parameters())
        # cells near the upper border spread beyond it: two cells are left free on either side
        limit = torch.tensor(tensor.spatial_shape[1:], device=self.device)
        place = tensor.indices[:, 2:]
        kept = ((place >= 2 * voxels) & (place < limit - 3 * voxels)).all(1)
        inner = SparseTensor.of(tensor.features[kept].to(weight), tensor.indices[kept], tensor.spatial_shape, 1)
        step = torch.tensor([0, 0, voxels, voxels], dtype=torch.int32, device=self.device)
        moved = SparseTensor.of(inner.features, inner.indices + step, inner.spatial_shape, 1)
        columns = [bev_columns(self.encoder.backbone(x).out) for x in (inner, moved)]
        return columns[0], columns[1], int(kept.sum())


def frozen(method: Any, device: torch.device, clouds: Sequence[Tensor], batch_size: int) -> SweepEncoder:
    """Return the method in eval mode, its encoder's batch norm calibrated on ``clouds`` where there are any.

    Args:
        method: method on clouds; it is copied, and stays as it is.
        device: to compute on.
        clouds: to calibrate on.
        batch_size: clouds in a batch.
    """
    encoder = SweepEncoder(copy.deepcopy(method).to(device), device)
    if clouds:
        calibrate(encoder.encoder, [cloud.to(device) for cloud in clouds], batch_size)
    encoder.method.eval().requires_grad_(False)
    return encoder


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Return consecutive items, ``size`` at a time.

    Args:
        items: to divide.
        size: of a batch; the last may be smaller.
    """
    return (items[start : start + size] for start in range(0, len(items), size))


def spread(count: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` positions, evenly spread over 0..count - 1.

    Args:
        count: number of positions to choose from.
        wanted: number of positions, at most.
    """
    chosen = min(count, wanted)
    return [(2 * i + 1) * count // (2 * chosen) for i in range(chosen)]
