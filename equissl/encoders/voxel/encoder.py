"""Encoder of point clouds: voxelisation, a sparse backbone, and its bird's-eye view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.voxel.backbone import create_voxel_backbone
from equissl.encoders.voxel.bev import bev_columns
from equissl.sparse import Sites, SparseTensor, VoxelGrid, Voxels, voxelize

Coordinates = Literal["absolute", "offset"]


@dataclass(frozen=True)
class SweepFeatures:
    """Output of a voxel encoder for a batch of clouds.

    Attributes:
        voxels: its input, and where each point went.
        stages: ``conv1`` to ``conv4`` of the backbone.
        out: ``conv_out`` of the backbone.
        bev: the occupied columns of ``out``, heights stacked: features (M, D) on (1, Y, X).
    """

    voxels: Voxels
    stages: dict[str, SparseTensor]
    out: SparseTensor
    bev: SparseTensor

    def stage(self, name: str) -> SparseTensor:
        """Return the features of ``bev``, ``conv_out``, or one of ``conv1`` to ``conv4``."""
        return {**self.stages, "conv_out": self.out, "bev": self.bev}[name]


@dataclass(frozen=True)
class VoxelEncoderConfig:
    """Settings of an encoder of point clouds. The defaults are those of detectors on KITTI.

    Attributes:
        backbone: ``VoxelBackBone8x`` or ``VoxelResBackBone8x``.
        point_range: lowest x, y, z and highest x, y, z in metres; points outside are dropped.
        voxel_size: along x, y, z in metres.
        max_points: only the first so many points of a voxel enter its mean; None takes all.
        max_voxels: most voxels of a cloud; a denser one is thinned out evenly. None takes all.
        backend: backend of the sparse convolutions, see `equissl.sparse.choose_backend`.
        in_channels: columns of a point: x, y, z and any others.
        coordinates: ``absolute`` gives a voxel the mean x, y, z of its points, as detectors do; ``offset`` counts x and
            y from the voxel's own centre, which makes features independent of where in the range a thing stands.
        norm_momentum: of BatchNorm's running statistics, which a frozen backbone computes with. 0.01 is that of long
            trainings; after 70 steps they are still half those of initialisation, and 0.1 is better. A
            detector's own overrides it.
    """

    backbone: str = "VoxelBackBone8x"
    point_range: tuple[float, float, float, float, float, float] = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
    voxel_size: tuple[float, float, float] = (0.05, 0.05, 0.1)
    max_points: int | None = 5
    max_voxels: int | None = None
    backend: str = "auto"
    in_channels: int = 4
    coordinates: Coordinates = "absolute"
    norm_momentum: float = 0.01

    def build(self) -> VoxelEncoder:
        return VoxelEncoder(self)


class VoxelEncoder(nn.Module):
    """A sparse voxel backbone on clouds of points.

    Attributes:
        grid: grid of voxels.
        backbone: what detectors can take over.
        feature_dim: size D of a column of the bird's-eye view: channels times heights.
        channels: channels of each stage by its name, see `SweepFeatures.stage`.
        bev_shape: cells of the bird's-eye view along y, x.
        cell_voxels: voxels along one side of such a cell.

    Raises:
        ValueError: for an unknown backbone, a grid too small for it, or limits that are not positive.
    """

    cell_voxels = 8

    def __init__(self, config: VoxelEncoderConfig) -> None:
        super().__init__()
        if config.max_voxels is not None and config.max_voxels < 1:
            raise ValueError(f"expected max_voxels of at least 1 or none, got {config.max_voxels}")
        if config.coordinates not in ("absolute", "offset"):
            raise ValueError(f"expected coordinates 'absolute' or 'offset', got {config.coordinates!r}")
        if not 0 < config.norm_momentum <= 1:
            raise ValueError(f"expected norm_momentum above 0 and at most 1, got {config.norm_momentum}")
        self.config = config
        self.grid = VoxelGrid(config.point_range, config.voxel_size)
        self.backbone = create_voxel_backbone(config.backbone, config.in_channels, config.backend)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = config.norm_momentum
        heights, *cells = self.backbone.output_shape(self.grid.shape)
        self.feature_dim = self.backbone.out_channels * heights
        self.bev_shape = (cells[0], cells[1])
        widths = {f"conv{number}": width for number, width in enumerate(self.backbone.widths, start=1)}
        self.channels = {**widths, "conv_out": self.backbone.out_channels, "bev": self.feature_dim}

    def forward(self, clouds: Sequence[Tensor]) -> SweepFeatures:
        """Compute the features of clouds (P, in_channels or more), of which one may be empty.

        Voxels are made in the clouds' own precision; further columns of the clouds are left aside.

        Raises:
            ValueError: for too few columns, points that are not finite, or training without a point in range.
        """
        voxels = self.voxelize(clouds)
        x = voxels.tensor.with_features(self._inputs(voxels.tensor))
        features = self.backbone(x)
        return SweepFeatures(voxels, features.stages, features.out, bev_columns(features.out))

    def voxelize(self, clouds: Sequence[Tensor]) -> Voxels:
        """Voxelise clouds on the encoder's grid.

        Raises:
            ValueError: for too few columns, or points that are not finite.
        """
        wanted = self.config.in_channels
        if any(cloud.ndim != 2 or cloud.shape[1] < wanted for cloud in clouds):
            raise ValueError(f"expected clouds (P, {wanted}), got {[tuple(cloud.shape) for cloud in clouds]}")
        voxels = voxelize([cloud[:, :wanted] for cloud in clouds], self.grid, self.config.max_points)
        return voxels if self.config.max_voxels is None else thin_out(voxels, self.config.max_voxels)

    def pool(self, bev: SparseTensor) -> Tensor:
        """Pool to (B, 2 D): mean and maximum over the columns of each cloud; zeros for a cloud without any."""
        counts = torch.bincount(bev.indices[:, 0], minlength=bev.batch_size).tolist()
        order = torch.argsort(bev.indices[:, 0], stable=True)
        return torch.stack([_mean_and_max(columns) for columns in bev.features[order].split(counts)])

    def freeze_after(self, stage: str) -> None:
        """Freeze the layers behind a stage (see `SweepFeatures.stage`): nothing would train them."""
        order = ["conv1", "conv2", "conv3", "conv4", "conv_out"]
        for name in order[order.index("conv_out" if stage == "bev" else stage) + 1 :]:
            getattr(self.backbone, name).requires_grad_(False)

    def _inputs(self, voxels: SparseTensor) -> Tensor:
        """Columns of the voxels in the weights' precision."""
        features = voxels.features
        if self.config.coordinates == "offset":
            low, size = (features.new_tensor(v[:2]) for v in (self.grid.point_range, self.grid.voxel_size))
            centres = low + (voxels.indices[:, [3, 2]] + 0.5) * size
            features = torch.cat([features[:, :2] - centres, features[:, 2:]], dim=1)
        return features.to(next(self.parameters()).dtype)


def thin_out(voxels: Voxels, most: int) -> Voxels:
    """Keep at most so many voxels of each cloud, spread evenly over their order; points of the others get no voxel.

    Args:
        voxels: voxels of a batch of clouds.
        most: voxels of a cloud.
    """
    tensor = voxels.tensor
    counts = torch.bincount(tensor.indices[:, 0], minlength=tensor.batch_size)
    start = counts.cumsum(0) - counts
    number = torch.arange(len(tensor), device=counts.device) - start[tensor.indices[:, 0]]
    share = counts.clamp(max=most)[tensor.indices[:, 0]]
    whole = counts[tensor.indices[:, 0]]
    # of n voxels, those where floor(i * most / n) steps up: exactly `most` of them
    kept = (number * share).div(whole, rounding_mode="floor") < ((number + 1) * share).div(whole, rounding_mode="floor")
    row = torch.where(kept, kept.cumsum(0) - 1, -1)
    to_voxel = voxels.point_to_voxel
    if len(row):
        to_voxel = torch.where(to_voxel >= 0, row[to_voxel], -1)
    sites = Sites(tensor.indices[kept], tensor.spatial_shape, tensor.batch_size, tensor.stride, check=False)
    return Voxels(SparseTensor(tensor.features[kept], sites), to_voxel, voxels.counts[kept], voxels.sizes)


def _mean_and_max(columns: Tensor) -> Tensor:
    if len(columns) == 0:
        return columns.new_zeros(2 * columns.shape[1])
    return torch.cat([columns.mean(dim=0), columns.amax(dim=0)])
