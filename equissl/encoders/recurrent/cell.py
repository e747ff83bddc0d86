"""Flow equivariant recurrent cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.recurrent.planar_conv import RING_WIDTH, CyclicConv, LiftConv, RegularConv
from equissl.encoders.recurrent.velocities import CyclicVelocities, RotationVelocities, VelocitySet

Pool = Literal["max", "mean", "sum"]
Coordinates = Literal["comoving", "image"]


@dataclass(frozen=True)
class RecurrentState:
    """Hidden state of a recurrent cell.

    Attributes:
        slices: (B, V, C, H, W), in the cell's coordinates; read it through :meth:`RecurrentCell.look`.
        steps: frames consumed.
    """

    slices: Tensor
    steps: int


class LearnedTransport(nn.Module):
    """One learned kernel per velocity in place of the given transport ψ.

    The state of this recurrence, h_{t+1}(ν) = σ(W ∗ (K_ν ∗ h_t(ν)) + U ∗ f_t), has the shape of a flow equivariant one
    and none of its guarantees (the baseline G-RNN+).

    Args:
        velocities: |V|.
        kernel_size: side of each kernel, shared by all channels.
    """

    def __init__(self, velocities: int, kernel_size: int = 5) -> None:
        super().__init__()
        weight = torch.empty(velocities, 1, kernel_size, kernel_size)
        self.weight = nn.Parameter(nn.init.kaiming_normal_(weight, mode="fan_out"))

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve each slice of (B, V, C, H, W) on the torus with its own kernel."""
        batch, velocities, channels, height, width = hidden.shape
        margin = self.weight.shape[-1] // 2
        x = hidden.transpose(1, 2).reshape(batch * channels, velocities, height, width)
        x = nn.functional.pad(x, (margin,) * 4, mode="circular")
        x = nn.functional.conv2d(x, self.weight, groups=velocities)
        return x.view(batch, channels, velocities, height, width).transpose(1, 2)


class RecurrentCell(nn.Module):
    """h_{t+1}(ν) = σ(W ∗ ψ_1(ν) h_t(ν) + U ∗ f_t) with h_0 = 0, for every velocity ν of a set V.

    One set of weights serves all velocities: with V = {0} this is the group-convolutional recurrent network, and any V
    has as many parameters. After t frames of a sequence that moves with velocity ν̂, h_t(ν) is ψ_{t−1}(ν̂) h_t(ν − ν̂) of
    the unmoved sequence.

    Args:
        velocity_set: V and how it acts.
        lift: U, from frames (B, C_in, H, W) to (B, C · orientations, H, W), equivariant to single motions.
        recurrent: W, on (N, C · orientations, H, W), equivariant alike and without a bias in space.
        activation: σ, pointwise.
        coordinates: of what is stored. ``image``: the formula above, so that the state is moved at every step.
            ``comoving``: g_t(ν) = ψ_{1−t}(ν) h_t(ν), which has g_{t+1}(ν) = σ(W ∗ g_t(ν) + U ∗ ψ_{−t}(ν) f_t). The same
            numbers for exact motions; bilinear rotations then blur a frame once and a read-out once, instead of the
            state again at every step.
        lift_moved: in comoving coordinates, move frames and lift each, which suits a lift of one layer, or lift once
            and move the features, which suits a deep one.
        learned_transport: moves the slices in place of the velocity set; needs image coordinates.

    Raises:
        ValueError: unknown coordinates, or learned transport in comoving ones.
    """

    def __init__(
        self,
        velocity_set: VelocitySet,
        lift: nn.Module,
        recurrent: nn.Module,
        activation: nn.Module | None = None,
        coordinates: Coordinates = "comoving",
        lift_moved: bool = True,
        learned_transport: LearnedTransport | None = None,
    ) -> None:
        super().__init__()
        if coordinates not in ("comoving", "image"):
            raise ValueError(f"expected coordinates 'comoving' or 'image', got {coordinates!r}")
        if learned_transport is not None and coordinates != "image":
            raise ValueError(f"expected image coordinates for learned transport, got {coordinates!r}")
        self.velocity_set, self.lift, self.recurrent = velocity_set, lift, recurrent
        self.learned_transport = learned_transport
        self.activation = activation or nn.ReLU()
        self.coordinates, self.lift_moved = coordinates, lift_moved

    def forward(self, frame: Tensor, state: RecurrentState | None = None) -> RecurrentState:
        """Compute the state after one more frame (B, C_in, H, W).

        Args:
            frame: (B, C_in, H, W).
            state: before it; None at the start.
        """
        steps = 0 if state is None else state.steps
        total = self._input(frame, steps)
        if state is not None:
            slices = state.slices
            if self.coordinates == "image":
                slices = self._transport(slices, 1)
            total = total + _on_slices(self.recurrent, slices)
        else:
            total = total.expand(-1, len(self.velocity_set), -1, -1, -1)
        return RecurrentState(self.activation(total), steps + 1)

    def encode(self, frames: Tensor, state: RecurrentState | None = None) -> RecurrentState:
        """Compute the state after the frames (B, T, C_in, H, W).

        Args:
            frames: (B, T, C_in, H, W).
            state: before them; None at the start.
        """
        _check_frames(frames)
        for t in range(frames.shape[1]):
            state = self(frames[:, t], state)
        assert state is not None
        return state

    def look(self, state: RecurrentState, ahead: int = 0) -> Tensor:
        """Return the hidden state (B, V, C, H, W) in image coordinates, ``ahead`` frames after the last one consumed.

        Each slice is moved along its own velocity. With ``ahead`` 0 it is h_t, which moves with the frame just seen;
        with 1 it moves with the frame to come, and is what predicts that frame equivariantly.

        Args:
            state: state of this cell.
            ahead: frames after the last one consumed.
        """
        steps = ahead + (state.steps - 1 if self.coordinates == "comoving" else 0)
        return self._transport(state.slices, steps) if steps else state.slices

    def states(self, frames: Tensor) -> Tensor:
        """Compute h after each of the frames (B, T, C_in, H, W): (B, T, V, C, H, W)."""
        _check_frames(frames)
        state, seen = None, []
        for t in range(frames.shape[1]):
            state = self(frames[:, t], state)
            seen.append(self.look(state))
        return torch.stack(seen, dim=1)

    def _transport(self, slices: Tensor, steps: int) -> Tensor:
        if self.learned_transport is None:
            return self.velocity_set.transport(slices, steps)
        for _ in range(steps):
            slices = self.learned_transport(slices)
        return slices

    def _input(self, frame: Tensor, steps: int) -> Tensor:
        """U ∗ f for every velocity, (B, V or 1, C, H, W)."""
        if self.coordinates == "image" or steps == 0:
            return self.lift(frame).unsqueeze(1)
        if self.lift_moved:
            return _on_slices(self.lift, self.velocity_set.spread_frames(frame, -steps))
        return self.velocity_set.spread(self.lift(frame), -steps)


def pool_velocities(hidden: Tensor, pool: Pool = "max") -> Tensor:
    """Pool (B, V, C, H, W) to (B, C, H, W). Any of these commutes with the action of V where V is a group.

    Args:
        hidden: (B, V, C, H, W).
        pool: ``max``, ``mean`` or ``sum``.
    """
    if pool == "max":
        return hidden.amax(dim=1)
    if pool == "mean":
        return hidden.mean(dim=1)
    if pool == "sum":
        return hidden.sum(dim=1)
    raise ValueError(f"expected pool 'max', 'mean' or 'sum', got {pool!r}")


def torus_conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Conv2d:
    """Create a convolution that commutes with translations of the torus.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: odd side of the kernel.
    """
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, padding_mode="circular", bias=False)


def recurrent_cell(
    velocity_set: VelocitySet,
    in_channels: int,
    channels: int,
    coordinates: Coordinates = "comoving",
    ring_width: float = RING_WIDTH,
) -> RecurrentCell:
    """Create the cell of one convolution each for input and state, of the kind that commutes with the motions of V.

    Args:
        velocity_set: V and how it acts.
        in_channels: channels of a frame.
        channels: channels of the hidden state (for each orientation).
        coordinates: see :class:`RecurrentCell`.
        ring_width: of kernels of rotations, see :func:`equissl.encoders.recurrent.steerable_basis`.
    """
    if isinstance(velocity_set, RotationVelocities):
        order = velocity_set.orientations
        lifting = LiftConv(in_channels, channels, order, ring_width)
        recurrent = RegularConv(channels, channels, order, ring_width)
        return RecurrentCell(velocity_set, lifting, recurrent, None, coordinates)
    if isinstance(velocity_set, CyclicVelocities):
        order = velocity_set.orientations
        if in_channels % order:
            raise ValueError(f"expected channels in multiples of the {order} orientations, got {in_channels}")
        lift = CyclicConv(in_channels // order, channels, order)
        return RecurrentCell(velocity_set, lift, CyclicConv(channels, channels, order), None, coordinates)
    return RecurrentCell(
        velocity_set, torus_conv(in_channels, channels), torus_conv(channels, channels), None, coordinates
    )


def _on_slices(layer: nn.Module, slices: Tensor) -> Tensor:
    return layer(slices.flatten(0, 1)).unflatten(0, slices.shape[:2])


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 5 or not frames.shape[1]:
        raise ValueError(f"expected frames of shape (B, T, C, H, W) with T >= 1, got {tuple(frames.shape)}")
