"""The sparse voxel backbones of SECOND, PV-RCNN, Voxel R-CNN and CenterPoint, with OpenPCDet's parameter names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from equissl.encoders.voxel.blocks import ResidualBlock, convolution, down, normalization
from equissl.sparse import SparseSequential, SparseTensor, SubmanifoldConv3d, set_backend
from equissl.sparse.index_map import Geometry
from equissl.sparse.layers import SparseConv3d
from equissl.sparse.sites import Triple
from equissl.util.registry import Registry

STAGES = ("conv1", "conv2", "conv3", "conv4")


@dataclass(frozen=True)
class VoxelFeatures:
    """Output of a voxel backbone.

    Attributes:
        stages: `conv1` to `conv4`, at strides 1, 2, 4 and 8.
        out: `conv_out`, at stride 8 in y, x and 16 in z.
    """

    stages: dict[str, SparseTensor]
    out: SparseTensor


class VoxelBackbone(nn.Module, ABC):
    """Five stages of sparse convolutions, every one followed by BatchNorm (eps 1e-3, momentum 0.01) and ReLU.

    As in OpenPCDet the grid gets one more, empty layer of voxels on top, and `conv4` and `conv_out` have no padding
    along z. For 40 voxels along z this gives two heights; 24 are the fewest. Where the size of `conv3` or `conv4`
    along z is even, its last layer lies under no kernel of the next stage and does not reach the output.

    Args:
        in_channels: columns of a voxel, such as x, y, z, intensity.
        backend: backend of the sparse convolutions; see `equissl.sparse.choose_backend`.
    """

    out_channels = 128

    def __init__(self, in_channels: int = 4, backend: str = "auto") -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv_input = SparseSequential(
            SubmanifoldConv3d(in_channels, 16, bias=False), normalization(16), nn.ReLU(inplace=True)
        )
        self.conv1, self.conv2, self.conv3, self.conv4 = self._stages()
        self.conv_out = SparseSequential(
            SparseConv3d(self.widths[-1], self.out_channels, (3, 1, 1), (2, 1, 1), bias=False),
            normalization(self.out_channels),
            nn.ReLU(inplace=True),
        )
        set_backend(self, backend)

    @property
    @abstractmethod
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""

    @abstractmethod
    def _stages(self) -> list[SparseSequential]:
        """The four stages."""

    def forward(self, x: SparseTensor) -> VoxelFeatures:
        """Compute the features of all stages.

        A grid of the batch without voxels has no features. Without any voxel in the whole batch, evaluation gives empty
        stages, and training is an error: the statistics of BatchNorm would become NaN.

        Args:
            x: (N, in_channels) on the voxeliser's grid.

        Raises:
            ValueError: for other channels, a grid of fewer than 24 voxels along z, or training without a voxel.
        """
        if self.training and len(x) == 0:
            raise ValueError(f"expected at least one voxel to train on, got none in a batch of {x.batch_size} grids")
        self.output_shape(x.spatial_shape)
        z, *yx = x.spatial_shape
        x = self.conv_input(x.padded((z + 1, yx[0], yx[1])))
        stages = {}
        for name in STAGES:
            x = stages[name] = getattr(self, name)(x)
        return VoxelFeatures(stages, self.conv_out(x))

    def output_shape(self, grid_shape: Triple) -> Triple:
        """Shape (z, y, x) of ``out`` for a grid of that shape; the BEV map has ``out_channels`` * z channels.

        Raises:
            ValueError: for a grid too small along an axis.
        """
        shape = (grid_shape[0] + 1, *grid_shape[1:])
        try:
            for geometry in self._strided():
                shape = geometry.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"expected a grid (z, y, x) of at least 24 voxels along z, got {grid_shape}") from error
        return shape

    def _strided(self) -> list[Geometry]:
        return [module.geometry for module in self.modules() if isinstance(module, SparseConv3d)]


class VoxelBackBone8x(VoxelBackbone):
    """SECOND's backbone (Yan et al., 2018): 711,872 parameters for 4 columns. Convolutions have no bias."""

    widths = (16, 32, 64, 64)

    def _stages(self) -> list[SparseSequential]:
        stages = [SparseSequential(convolution(16, 16))]
        for index, (inputs, width) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            blocks = (convolution(width, width), convolution(width, width))
            stages.append(SparseSequential(down(inputs, width, flat=index == 2), *blocks))
        return stages


class VoxelResBackBone8x(VoxelBackbone):
    """CenterPoint's backbone (Yin et al., 2021): 2,694,880 parameters for 4 columns. Residual blocks have biases."""

    widths = (16, 32, 64, 128)

    def _stages(self) -> list[SparseSequential]:
        stages = [SparseSequential(ResidualBlock(16), ResidualBlock(16))]
        for index, (inputs, width) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            blocks = (ResidualBlock(width), ResidualBlock(width))
            stages.append(SparseSequential(down(inputs, width, flat=index == 2), *blocks))
        return stages


VOXEL_BACKBONES: Registry[type[VoxelBackbone]] = Registry(
    "voxel backbone",
    {"VoxelBackBone8x": VoxelBackBone8x, "VoxelResBackBone8x": VoxelResBackBone8x},
    group="equissl.voxel_backbones",
    base=VoxelBackbone,
)


def create_voxel_backbone(name: str = "VoxelBackBone8x", in_channels: int = 4, backend: str = "auto") -> VoxelBackbone:
    """Create the backbone of that name.

    Args:
        name: one of :data:`VOXEL_BACKBONES`, or the import path of a subclass of `VoxelBackbone`.
        in_channels: columns of a voxel.
        backend: of the sparse convolutions.

    Raises:
        ValueError: for an unknown one.
    """
    return VOXEL_BACKBONES[name](in_channels, backend)
