"""Voxel RoI pooling: features of sparse voxels gathered at a grid of points, with OpenPCDet's parameter names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.detection.voxel_query import cube_offsets, manhattan_offsets, voxel_query
from equissl.sparse import SparseTensor, VoxelGrid

STAGES = ("conv1", "conv2", "conv3", "conv4")


@dataclass(frozen=True)
class PoolConfig:
    """Settings of the pooling and of the voxels that each point sees. The defaults are those of Voxel R-CNN on KITTI.

    Attributes:
        stages: stages of the backbone whose voxels are looked at.
        points: points of the grid along each side of a box.
        samples: most voxels that a point takes, of each stage.
        reach: in voxels of the stage.
        query: ``manhattan``: voxels within the Manhattan distance ``reach``, the nearest first, as in the paper;
            ``ball``: those of at most ``reach`` along every axis whose centres lie within ``radii``, in the order of
            z, y, x, as in OpenPCDet, whose weights were trained so.
        radii: radii of the balls in metres, one for each stage; only ``ball`` looks at them.
        width: features of a point from each stage.

    Raises:
        ValueError: for no or unknown stages, another query, missing radii, or numbers that are not positive.
    """

    stages: tuple[str, ...] = ("conv2", "conv3", "conv4")
    points: int = 6
    samples: int = 16
    reach: int = 4
    query: Literal["manhattan", "ball"] = "manhattan"
    radii: tuple[float, ...] = (0.4, 0.8, 1.6)
    width: int = 32

    def __post_init__(self) -> None:
        if not self.stages or not set(self.stages) <= set(STAGES):
            raise ValueError(f"expected stages among {', '.join(STAGES)}, got {self.stages}")
        if self.query not in ("manhattan", "ball"):
            raise ValueError(f"expected query 'manhattan' or 'ball', got {self.query!r}")
        if self.query == "ball" and (len(self.radii) != len(self.stages) or min(self.radii) <= 0):
            raise ValueError(f"expected a positive radius for each of the stages {self.stages}, got {self.radii}")
        if min(self.points, self.samples, self.reach, self.width) < 1:
            raise ValueError(f"expected positive numbers, got {self}")


class GridPool(nn.Module):
    """PointNet over one stage's voxels about each point; its layer on features runs once for each voxel.

    The sum of a linear function of a voxel's features and one of its place relative to the point, ReLU, the maximum
    over voxels, and one more layer (the accelerated local aggregation of Deng et al., 2021).

    Args:
        channels: channels of the voxels.
        grid: grid of the voxeliser.
        config: which voxels are seen.
        radius: radius of the ball in metres, where the query is one.
    """

    offsets: Tensor

    def __init__(self, channels: int, grid: VoxelGrid, config: PoolConfig, radius: float | None) -> None:
        super().__init__()
        self.grid, self.samples, self.radius, width = grid, config.samples, radius, config.width
        offsets = manhattan_offsets(config.reach) if radius is None else cube_offsets(config.reach)
        self.register_buffer("offsets", offsets, persistent=False)
        # lists of one, as in OpenPCDet, whose layers may have several scales
        self.mlps_in = nn.ModuleList([_layer(nn.Conv1d(channels, width, 1, bias=False), nn.BatchNorm1d(width))])
        self.mlps_pos = nn.ModuleList([_layer(nn.Conv2d(3, width, 1, bias=False), nn.BatchNorm2d(width))])
        last = _layer(nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        self.mlps_out = nn.ModuleList([last])

    def forward(self, stage: SparseTensor, points: Tensor, batch: Tensor) -> Tensor:
        """Compute the features (M, width) of points.

        A point that sees fewer voxels than there are samples sees its first again; one that sees none has the features
        of an empty place.

        Args:
            stage: features (N, channels) of voxels.
            points: (M, 3) x, y, z, at least one.
            batch: (M,) int64 which grid each is in.
        """
        rows, offset = self._neighbours(stage, points, batch)
        features = _rows_through(self.mlps_in[0], stage.features)
        features = torch.cat([features, features.new_zeros(1, features.shape[1])])[rows]  # (M, S, width); -1: the last
        position = self.mlps_pos[0](offset.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        return _rows_through(self.mlps_out[0], (features + position).relu().amax(dim=1))

    def _neighbours(self, stage: SparseTensor, points: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (M, S) of voxels about each point, -1 where there are none, and where they are from it (M, S, 3)."""
        low = points.new_tensor(self.grid.point_range[:3])
        size = points.new_tensor(self.grid.voxel_size) * points.new_tensor(stage.stride[::-1])
        centres = low + (stage.indices[:, [3, 2, 1]] + 0.5) * size
        cells = ((points - low) / size).floor().long().flip(1)

        limit = math.inf if self.radius is None else self.radius**2

        def near(numbers: Tensor, rows: Tensor) -> Tensor:
            distance = (centres[rows] - points[numbers, None]).square().sum(dim=-1)
            return (rows >= 0) & (distance <= limit)

        cells = torch.cat([batch[:, None], cells], dim=1)
        within, offsets = None, self.offsets
        if self.radius is not None and len(centres):
            # a point is at most half a voxel from the centre of its own
            nearest = ((offsets.abs() - 0.5).clamp(min=0) * size.flip(0)).norm(dim=1)
            within, offsets = near, offsets[nearest <= self.radius]
        rows = voxel_query(stage.sites, cells, offsets, self.samples, within)
        rows = torch.where(rows >= 0, rows, rows[:, :1])
        centres = torch.cat([centres, centres.new_zeros(1, 3)])
        return rows, torch.where(rows[..., None] >= 0, centres[rows] - points[:, None], 0)


def _layer(convolution: nn.Conv1d | nn.Conv2d, *others: nn.Module) -> nn.Sequential:
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, *others)


def _rows_through(layers: nn.Module, x: Tensor) -> Tensor:
    """Rows (N, C) through convolutions of width 1 and what follows them; N may be 0, where torch's would refuse."""
    for layer in layers.children():
        x = F.linear(x, layer.weight.flatten(1)) if isinstance(layer, nn.Conv1d) else layer(x)
    return x
