"""Dense convolutions over the bird's-eye view, with OpenPCDet's parameter names."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NeckConfig:
    """Settings of the blocks, and of what is joined from each. The defaults are SECOND's.

    Attributes:
        layers: convolutions of each block after its first, strided one.
        strides: of the blocks.
        widths: their channels.
        up_strides: by which each block's output is enlarged; all must end at one size.
        up_widths: channels of each.

    Raises:
        ValueError: for lists of different lengths, numbers that are not positive, or outputs of different sizes.
    """

    layers: tuple[int, ...] = (5, 5)
    strides: tuple[int, ...] = (1, 2)
    widths: tuple[int, ...] = (128, 256)
    up_strides: tuple[int, ...] = (1, 2)
    up_widths: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        lists = (self.layers, self.strides, self.widths, self.up_strides, self.up_widths)
        if len({len(values) for values in lists}) != 1 or not self.layers:
            raise ValueError(f"expected lists of one length, of at least one block, got {self}")
        if min(self.layers) < 0 or min(min(values) for values in lists[1:]) < 1:
            raise ValueError(f"expected positive numbers, got {self}")
        if len(self._scales()) != 1:
            raise ValueError(f"expected blocks that are enlarged to one size, got {self}")

    @property
    def scale(self) -> Fraction:
        """Size of the output over that of the input."""
        return self._scales().pop()

    @property
    def multiple(self) -> int:
        """The input's sides must be a multiple of this."""
        return list(itertools.accumulate(self.strides, lambda a, b: a * b))[-1]

    def _scales(self) -> set[Fraction]:
        down = itertools.accumulate(self.strides, lambda a, b: a * b)
        return {Fraction(up, stride) for up, stride in zip(self.up_strides, down, strict=True)}


class BEVNeck(nn.Module):
    """SECOND's region proposal network without its heads: (B, C, Y, X) to (B, sum of ``up_widths``, Y', X').

    Args:
        channels: C.
        config: blocks.

    Attributes:
        out_channels: channels of the output.
    """

    def __init__(self, channels: int, config: NeckConfig) -> None:
        super().__init__()
        self.config, self.out_channels = config, sum(config.up_widths)
        inputs = (channels, *config.widths[:-1])
        self.blocks = nn.ModuleList(
            _block(*sizes) for sizes in zip(inputs, config.widths, config.strides, config.layers, strict=True)
        )
        self.deblocks = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(width, up, stride, stride, bias=False), *_after(up))
            for width, up, stride in zip(config.widths, config.up_widths, config.up_strides, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the joined maps.

        Raises:
            ValueError: for a map whose sides the strides do not divide.
        """
        if x.shape[-2] % self.config.multiple or x.shape[-1] % self.config.multiple:
            raise ValueError(f"expected sides that are multiples of {self.config.multiple}, got {tuple(x.shape)}")
        levels = []
        for block, up in zip(self.blocks, self.deblocks, strict=True):
            x = block(x)
            levels.append(up(x))
        return torch.cat(levels, dim=1)


def _block(inputs: int, width: int, stride: int, layers: int) -> nn.Sequential:
    # padded by itself, as in OpenPCDet: the modules' numbers are those of its weights
    first = [nn.ZeroPad2d(1), nn.Conv2d(inputs, width, 3, stride, bias=False), *_after(width)]
    others = [[nn.Conv2d(width, width, 3, padding=1, bias=False), *_after(width)] for _ in range(layers)]
    return nn.Sequential(*first, *itertools.chain.from_iterable(others))


def _after(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU()]
