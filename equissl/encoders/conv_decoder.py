"""Convolutional decoder of codes to images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FIRST = 4  # side of the map that a code is unfolded to


class ConvDecoder(nn.Module):
    """One linear layer to a map of 4 × 4, blocks that double its side, and a convolution to colours.

    Each block repeats pixels and convolves (3 × 3, batch norm, ReLU), which leaves no checkerboard (Odena et al. 2016);
    it halves the channels. Ours: no paper's architecture.

    Args:
        dim: size of a code.
        image_size: side S of the images, 4 · 2ⁿ with n ≥ 1.
        width: channels of the last block; the first map has 2ⁿ times as many.

    Attributes:
        hidden_dim: size of :meth:`embed`'s vectors.

    Raises:
        ValueError: for another side.
    """

    def __init__(self, dim: int, image_size: int, width: int) -> None:
        super().__init__()
        blocks = (image_size // _FIRST).bit_length() - 1
        if blocks < 1 or _FIRST << blocks != image_size:
            raise ValueError(f"expected image_size to be 8, 16, 32, 64 or a further double, got {image_size}")
        channels = [width << (blocks - block) for block in range(blocks + 1)]
        self.unfold = nn.Sequential(
            nn.Linear(dim, channels[0] * _FIRST**2, bias=False),
            nn.Unflatten(1, (channels[0], _FIRST, _FIRST)),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(map(_double, channels, channels[1:]))
        self.colours = nn.Conv2d(channels[-1], 3, 3, padding=1)
        self.hidden_dim = sum(channels)

    def hidden(self, codes: Tensor) -> list[Tensor]:
        """Compute the hidden maps (N, C_i, 4 · 2ⁱ, 4 · 2ⁱ) of codes (N, dim), the smallest first."""
        maps = [self.unfold(codes)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps

    def embed(self, codes: Tensor) -> Tensor:
        """Compute the hidden states (N, hidden_dim) of codes: every hidden map, averaged over positions."""
        return torch.cat([hidden.mean(dim=(2, 3)) for hidden in self.hidden(codes)], dim=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes (N, dim) to images (N, 3, S, S)."""
        return self.colours(self.hidden(codes)[-1])


def _double(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )
