"""Blocks of the voxel backbones, with OpenPCDet's parameter names."""

from __future__ import annotations

from torch import nn

from equissl.sparse import SparseConv3d, SparseModule, SparseSequential, SparseTensor, SubmanifoldConv3d


def normalization(channels: int) -> nn.BatchNorm1d:
    """Create a BatchNorm over the sites of a batch, eps 1e-3, momentum 0.01."""
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


def convolution(inputs: int, outputs: int) -> SparseSequential:
    """Create submanifold 3³, BatchNorm, ReLU.

    Args:
        inputs: channels.
        outputs: channels.
    """
    return SparseSequential(SubmanifoldConv3d(inputs, outputs, bias=False), *_after(outputs))


def down(inputs: int, outputs: int, flat: bool = False) -> SparseSequential:
    """Create strided 3³ of stride 2, BatchNorm, ReLU; padding 1, but none along z where ``flat``.

    Args:
        inputs: channels.
        outputs: channels.
        flat: no padding along z.
    """
    padding = (0, 1, 1) if flat else (1, 1, 1)
    return SparseSequential(SparseConv3d(inputs, outputs, 3, 2, padding, bias=False), *_after(outputs))


class ResidualBlock(SparseModule):
    """Two submanifold 3³ with bias and BatchNorm, added to their input (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = SubmanifoldConv3d(channels, channels), normalization(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = SubmanifoldConv3d(channels, channels), normalization(channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        out = self.conv1(x)
        out = self.conv2(out.with_features(self.relu(self.bn1(out.features))))
        return out.with_features(self.relu(self.bn2(out.features) + x.features))


def _after(channels: int) -> tuple[nn.Module, nn.Module]:
    return normalization(channels), nn.ReLU(inplace=True)
