"""Classifiers of videos."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equissl.encoders.recurrent.cell import (
    Coordinates,
    LearnedTransport,
    Pool,
    RecurrentCell,
    RecurrentState,
    pool_velocities,
    torus_conv,
)
from equissl.encoders.recurrent.velocities import TranslationVelocities, VelocitySet


def torus_stem(channels: Sequence[int] = (32, 64, 128), in_channels: int = 1) -> nn.Sequential:
    """Create convolutions on the torus, 5 × 5 then 3 × 3, each with batch norm and ReLU.

    Zero padding here would let the image border into features of circularly moved frames.

    Args:
        channels: outputs of each layer.
        in_channels: channels of frames.
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip((in_channels, *channels[:-1]), channels, strict=True)):
        layers += [torus_conv(a, b, 3 if i else 5), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


class VideoClassifier(nn.Module):
    """Linear classifier of max over ν of h_T(ν), averaged over space: invariant to motions of V where V is a group.

    At the defaults 241,638 parameters, whatever V; with the learned transport of G-RNN+ and 25 velocities 242,263.

    Args:
        velocity_set: translations.
        classes: number of classes.
        channels: channels of the stem's layers; the last is the hidden state's.
        in_channels: channels of frames.
        pool: over velocities.
        learned_transport: one learned 5 × 5 kernel per velocity instead of the given transport (the baseline G-RNN+).
        coordinates: see :class:`RecurrentCell`.

    Raises:
        ValueError: for other velocities.
    """

    def __init__(
        self,
        velocity_set: VelocitySet,
        classes: int = 6,
        channels: Sequence[int] = (32, 64, 128),
        in_channels: int = 1,
        pool: Pool = "max",
        learned_transport: bool = False,
        coordinates: Coordinates = "image",
    ) -> None:
        super().__init__()
        if not isinstance(velocity_set, TranslationVelocities):
            raise ValueError(f"expected translations, got {velocity_set.name}")
        stem, width = torus_stem(channels, in_channels), channels[-1]
        transport = LearnedTransport(len(velocity_set)) if learned_transport else None
        self.cell = RecurrentCell(
            velocity_set, stem, torus_conv(width, width), nn.Tanh(), coordinates, False, transport
        )
        self.head = nn.Linear(width, classes)
        self.pool = pool

    def features(self, frames: Tensor) -> Tensor:
        """Compute (B, C) of frames (B, T, C_in, H, W)."""
        return self._read(self.cell.encode(frames))

    def forward(self, frames: Tensor) -> Tensor:
        """Compute (B, classes) logits of frames (B, T, C_in, H, W)."""
        return self.head(self.features(frames))

    def features_by_frame(self, frames: Tensor) -> Tensor:
        """Compute the features (B, T, C) after each of the frames (B, T, C_in, H, W)."""
        state: RecurrentState | None = None
        found = []
        for t in range(frames.shape[1]):
            state = self.cell(frames[:, t], state)
            found.append(self._read(state))
        return torch.stack(found, dim=1)

    def _read(self, state: RecurrentState) -> Tensor:
        return pool_velocities(self.cell.look(state), self.pool).mean(dim=(-2, -1))


class VideoCNN(nn.Module):
    """3-D convolutions over time and space, a baseline without recurrence: 208,598 parameters at the defaults.

    Args:
        classes: number of classes.
        in_channels: channels of frames.
        channels: channels of the three stages (one, two and two blocks of 3 × 3 × 3 convolution, batch norm and ReLU).
    """

    def __init__(self, classes: int = 6, in_channels: int = 1, channels: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = channels
        plan = [
            (in_channels, first, (2, 1, 1)),
            (first, second, (1, 2, 2)),
            (second, second, (1, 1, 1)),
            (second, third, (1, 2, 2)),
            (third, third, (1, 1, 1)),
        ]
        self.body = nn.Sequential(*(m for block in plan for m in _block(*block)))
        self.head = nn.Linear(third, classes)

    def features(self, frames: Tensor) -> Tensor:
        """Compute (B, C) of frames (B, T, C_in, H, W)."""
        return self.body(frames.transpose(1, 2)).mean(dim=(-3, -2, -1))

    def forward(self, frames: Tensor) -> Tensor:
        """Compute (B, classes) logits."""
        return self.head(self.features(frames))

    def features_by_frame(self, frames: Tensor) -> Tensor:
        """Compute the features (B, T, C) of the first frame, the first two, … of (B, T, C_in, H, W)."""
        return torch.stack([self.features(frames[:, : t + 1]) for t in range(frames.shape[1])], dim=1)


def _block(inside: int, out: int, stride: tuple[int, int, int]) -> list[nn.Module]:
    conv = nn.Conv3d(inside, out, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm3d(out), nn.ReLU()]
