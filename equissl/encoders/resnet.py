"""The ResNet of the SIE, CapsIE and EquiCaps papers.

He et al. 2016 (arXiv 1512.03385) as used by Garrido et al. 2023 (SIE, arXiv 2302.10283). It differs from torchvision's:
each stage begins with a projection shortcut, the basic block strides in its second convolution, and strided layers pad
more at the right and bottom, as TensorFlow does. So weights are not interchangeable with torchvision's; parameter names
and order are those of the published weights.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoders.base import Encoder

Stem = Literal["reference", "nopool", "small"]

# stem -> (kernel, stride, whether a 3x3/2 max-pool follows); the map is 1/32, 1/16 or 1/8 of the image's side
_STEMS = {"reference": (7, 2, True), "nopool": (7, 2, False), "small": (3, 1, False)}


def _pad_strided(x: Tensor) -> Tensor:
    """One row and column of zeros at the bottom and right: the padding of every strided 3x3 convolution here."""
    return F.pad(x, (0, 1, 0, 1))


def _conv3x3(in_channels: int, channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1 if stride == 1 else 0, bias=False)


class _Conv1x1(nn.Conv2d):
    """1x1 convolution without bias; a narrow one skips pixels itself and then has no stride.

    oneDNN's kernel for AVX2 processors writes outside of its buffer in the backward pass of a strided 1x1 convolution
    of fewer than 8 channels in channels-last layout (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels >= 8:
            return super().forward(x)
        return F.conv2d(x[..., :: self.stride[0], :: self.stride[1]], self.weight)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """3x3, then 3x3 with the stride."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = _conv3x3(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride) if project else nn.Identity()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y if self.stride == 1 else _pad_strided(y)))
        return F.relu_(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(in_channels, width * self.expansion, stride) if project else nn.Identity()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y if self.stride == 1 else _pad_strided(y))))
        return F.relu_(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(Encoder):
    """The reference ResNet.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        depths: blocks in each of the four stages.
        width: channels of the first stage; the vector has 8 · width · expansion numbers (512 for ResNet-18 at 64).
        stem: ``reference`` (7x7/2 and max-pool), ``nopool`` (7x7/2), or ``small`` (3x3/1, for small images): the map's
            side is 1/32, 1/16 or 1/8 of the image's.

    Raises:
        ValueError: for an unknown stem or a width below 1.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 64,
        stem: Stem = "reference",
    ) -> None:
        super().__init__()
        if stem not in _STEMS:
            raise ValueError(f"expected stem to be one of {list(get_args(Stem))}, got {stem!r}")
        if width < 1:
            raise ValueError(f"expected width to be at least 1, got {width}")
        kernel, stride, self.max_pool = _STEMS[stem]
        # (left, right, top, bottom): 2, 3 for the 7x7, 1, 1 for the 3x3
        self.stem_padding = ((kernel - 1) // 2 if stride == 1 else kernel // 2 - 1, kernel // 2) * 2
        self.conv1 = nn.Conv2d(3, width, kernel, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(depths, start=1):
            out, first_stride = width * 2 ** (stage - 1), 1 if stage == 1 else 2
            blocks: list[nn.Module] = [block(channels, out, first_stride, project=True)]
            channels = out * block.expansion
            blocks += [block(channels, out, 1, project=False) for _ in range(depth - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.feature_dim = channels
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)  # every block starts as its shortcut

    def feature_map(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, H, W) to a non-negative map (N, D, h, w); raises what `stage_maps` does."""
        return self.stage_maps(images)[-1]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images (N, 3, H, W) to the non-negative maps of the four stages.

        Raises:
            ValueError: if a stage would have to halve an odd size (shortcut and main path then differ).
        """
        x = F.relu_(self.bn1(self.conv1(F.pad(images, self.stem_padding))))
        if self.max_pool:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)  # = padding one row and column of -inf at the bottom and right
        maps = []
        for stage in range(1, 5):
            if stage > 1 and (x.shape[2] % 2 or x.shape[3] % 2):
                size, map_size = tuple(images.shape[2:]), tuple(x.shape[2:])
                raise ValueError(
                    f"images of {size} pixels give stage {stage} an odd map {map_size}: use a multiple of 32"
                )
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps


def resnet18(width: int = 64, stem: Stem = "reference") -> ResNet:
    """Create a ResNet-18: 11,180,736 parameters at the default width.

    Args:
        width: channels of the first stage.
        stem: stem of the network.
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), width, stem)


def resnet34(width: int = 64, stem: Stem = "reference") -> ResNet:
    """Create a ResNet-34: 21,288,896 parameters at the default width.

    Args:
        width: channels of the first stage.
        stem: stem of the network.
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), width, stem)


def resnet50(width: int = 64, stem: Stem = "reference") -> ResNet:
    """Create a ResNet-50: 23,508,032 parameters at the default width.

    Args:
        width: channels of the first stage.
        stem: stem of the network.
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), width, stem)
