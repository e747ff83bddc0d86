"""Next-frame prediction and roll-outs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.recurrent.cell import (
    Coordinates,
    Pool,
    RecurrentCell,
    RecurrentState,
    pool_velocities,
    recurrent_cell,
    torus_conv,
)
from equissl.encoders.recurrent.planar_conv import RING_WIDTH, ProjectConv, RegularConv
from equissl.encoders.recurrent.velocities import RotationVelocities, VelocitySet

Timing = Literal["ahead", "published"]
DecoderKind = Literal["equivariant", "plain"]


def torus_decoder(channels: int, out_channels: int = 1, layers: int = 4) -> nn.Sequential:
    """Create convolutions on the torus with ReLU between, no bias, no activation at the end.

    Args:
        channels: channels of the hidden state.
        out_channels: channels of a frame.
        layers: hidden ones.
    """
    hidden = [m for _ in range(layers) for m in (torus_conv(channels, channels), nn.ReLU())]
    return nn.Sequential(*hidden, torus_conv(channels, out_channels))


def rotation_decoder(
    channels: int, orientations: int, out_channels: int = 1, layers: int = 4, ring_width: float = RING_WIDTH
) -> nn.Sequential:
    """Create layers from regular fields to a frame that commute with rotations, so that the output rotates as well.

    Args:
        channels: fields of the hidden state.
        orientations: order of the group.
        out_channels: channels of a frame.
        layers: hidden ones.
        ring_width: of the kernels, see :func:`equissl.encoders.recurrent.steerable_basis`.
    """
    convolutions = [RegularConv(channels, channels, orientations, ring_width) for _ in range(layers)]
    hidden = [m for c in convolutions for m in (c, nn.ReLU())]
    return nn.Sequential(*hidden, ProjectConv(channels, out_channels, orientations, ring_width))


def plain_decoder(channels: int, out_channels: int = 1, layers: int = 4) -> nn.Sequential:
    """Create zero-padded convolutions over flattened orientation channels, as published: not equivariant to rotations.

    Args:
        channels: channels of the hidden state, orientations included.
        out_channels: channels of a frame.
        layers: hidden ones.
    """
    conv = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers)]
    hidden = [m for c in conv for m in (c, nn.ReLU())]
    return nn.Sequential(*hidden, nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))


class VideoPredictor(nn.Module):
    """Flow equivariant predictor of frames: a recurrent cell, a pooling over velocities and a decoder.

    Args:
        cell: see :class:`RecurrentCell`.
        decoder: from (B, C, H, W) to a frame.
        pool: over velocities.
        timing: ``ahead`` moves every slice to the time of the frame to come before pooling, and feeds each frame once:
            a moved sequence then has moved predictions, at every step of a roll-out, where V is a group. ``published``
            pools the state of the last frame seen, and feeds the last observed frame a second time for the first
            prediction, as the first implementation did: not equivariant.
    """

    def __init__(self, cell: RecurrentCell, decoder: nn.Module, pool: Pool = "max", timing: Timing = "ahead") -> None:
        super().__init__()
        if timing not in ("ahead", "published"):
            raise ValueError(f"expected timing 'ahead' or 'published', got {timing!r}")
        self.cell, self.decoder, self.pool, self.timing = cell, decoder, pool, timing

    @property
    def velocity_set(self) -> VelocitySet:
        return self.cell.velocity_set

    def forward(
        self,
        frames: Tensor,
        horizon: int = 1,
        truth: Tensor | None = None,
        teacher_forcing: float = 0.0,
        detach: bool = True,
    ) -> Tensor:
        """Roll out: every prediction is fed back as the next frame.

        Args:
            frames: (B, T, C, H, W) observed.
            horizon: frames to predict.
            truth: (B, horizon, C, H, W), for teacher forcing.
            teacher_forcing: probability, drawn for each step, of feeding the true frame instead of the prediction.
            detach: no gradient through frames that are fed back.

        Returns:
            (B, horizon, C, H, W).
        """
        return self.roll_out(self.encode(frames), horizon, truth, teacher_forcing, detach)

    def encode(self, frames: Tensor) -> RecurrentState:
        """Compute the state from which the frame after (B, T, C, H, W) is read."""
        state = self.cell.encode(frames)
        return self.cell(frames[:, -1], state) if self.timing == "published" else state

    def roll_out(
        self,
        state: RecurrentState,
        horizon: int,
        truth: Tensor | None = None,
        teacher_forcing: float = 0.0,
        detach: bool = True,
    ) -> Tensor:
        """Roll out from a state, as `forward` does from frames.

        Args:
            state: from :meth:`encode`.
            horizon, truth, teacher_forcing, detach: see :meth:`forward`.
        """
        if horizon < 1:
            raise ValueError(f"expected a horizon of at least 1, got {horizon}")
        if teacher_forcing and truth is None:
            raise ValueError("expected the true frames for teacher forcing, got none")
        predictions = [self.read(state)]
        for step in range(1, horizon):
            fed = predictions[-1].detach() if detach else predictions[-1]
            if teacher_forcing and truth is not None and float(torch.rand(())) < teacher_forcing:
                fed = truth[:, step - 1]
            state = self.cell(fed, state)
            predictions.append(self.read(state))
        return torch.stack(predictions, dim=1)

    def next_frames(self, frames: Tensor) -> Tensor:
        """Predict frame t + 1 from the true frames 0..t, for every t: (B, T, C, H, W)."""
        state: RecurrentState | None = None
        predictions = []
        for t in range(frames.shape[1]):
            state = self.cell(frames[:, t], state)
            predictions.append(self.read(state))
        return torch.stack(predictions, dim=1)

    def read(self, state: RecurrentState) -> Tensor:
        """Read the frame (B, C, H, W) that a state predicts."""
        return self.decoder(self.pooled(state, ahead=int(self.timing == "ahead")))

    def pooled(self, state: RecurrentState, ahead: int = 0) -> Tensor:
        """Pool the hidden state over velocities, in image coordinates: (B, C, H, W).

        Args:
            state: state of the cell.
            ahead: frames after the last one consumed, see :meth:`RecurrentCell.look`.
        """
        return pool_velocities(self.cell.look(state, ahead), self.pool)


def video_predictor(
    velocity_set: VelocitySet,
    channels: int = 128,
    decoder_layers: int = 4,
    in_channels: int = 1,
    pool: Pool = "max",
    timing: Timing = "ahead",
    decoder: DecoderKind = "equivariant",
    coordinates: Coordinates = "comoving",
    ring_width: float = RING_WIDTH,
) -> VideoPredictor:
    """Create the published predictor; for translations 739,584 parameters at the defaults, whatever V.

    Args:
        velocity_set: translations or rotations.
        channels: C of the hidden state (for each orientation).
        decoder_layers: hidden layers of the decoder.
        in_channels: channels of frames.
        pool: over velocities.
        timing: see :class:`VideoPredictor`.
        decoder: for rotations, ``plain`` is the published decoder, which is not equivariant.
        coordinates: see :class:`RecurrentCell`.
        ring_width: of kernels of rotations, see :func:`equissl.encoders.recurrent.steerable_basis`.
    """
    if decoder not in ("equivariant", "plain"):
        raise ValueError(f"expected decoder 'equivariant' or 'plain', got {decoder!r}")
    cell = recurrent_cell(velocity_set, in_channels, channels, coordinates, ring_width)
    if not isinstance(velocity_set, RotationVelocities):
        return VideoPredictor(cell, torus_decoder(channels, in_channels, decoder_layers), pool, timing)
    if decoder == "plain":
        head = plain_decoder(channels * velocity_set.orientations, in_channels, decoder_layers)
    else:
        head = rotation_decoder(channels, velocity_set.orientations, in_channels, decoder_layers, ring_width)
    return VideoPredictor(cell, head, pool, timing)
