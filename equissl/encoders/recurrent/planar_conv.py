"""Convolutions that commute with rotations of the plane: steerable kernels of cyclic groups.

A 3 × 3 kernel is a sum of circular harmonics (a centre, and a ring with frequencies 0, 1 and 2: six functions), because
those rotate into themselves: ψ(R⁻¹x) has coefficients that are a rotation of ψ's. On orders other than 1, 2 and 4 the
kernel is exact and the pixel grid the only error (Weiler and Cesa, "General E(2)-Equivariant Steerable CNNs",
arXiv 1911.08251).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.encoders.recurrent.he_init import lift_weights, project_weights, regular_weights

FREQUENCIES = (0, 1, 2)
BASIS = 6
RING_WIDTH = 0.4


def steerable_basis(angle: float = 0.0, ring_width: float = RING_WIDTH) -> Tensor:
    """Make the (6, 3, 3) kernels of unit norm at angle 0, each rotated by ``angle``.

    Args:
        angle: in radians, counter-clockwise on screen.
        ring_width: standard deviation of the ring's profile about radius 1, in pixels; 0.4 as in escnn. A wider ring
            commutes less well with small rotations: after 40° two layers are off by 1.8 %, and by 3.8 % with 0.6.
    """
    return torch.stack([turned / at_rest.norm() for turned, at_rest in _harmonics(angle, ring_width)])


def _harmonics(angle: float, ring_width: float) -> list[tuple[Tensor, Tensor]]:
    """Return the six kernels rotated and as they are, before their norms are divided out."""
    offset = torch.arange(-1.0, 2.0, dtype=torch.float64)
    down, right = torch.meshgrid(offset, offset, indexing="ij")
    radius, theta = torch.hypot(right, down), torch.atan2(-down, right)
    ring = torch.exp(-((radius - 1) ** 2) / (2 * ring_width**2))
    centre = (radius == 0).double()
    kernels = [(centre, centre), (ring, ring)]
    for frequency in FREQUENCIES[1:]:
        edge = ring * (1 - centre)  # an angle is not defined in the centre
        for phase in (0.0, math.pi / 2):
            wave = [edge * torch.cos(frequency * (theta - turn) - phase) for turn in (angle, 0.0)]
            kernels.append((wave[0], wave[1]))
    return kernels


class _PlanarConv(nn.Module, ABC):
    """Shared by the three layers below: the basis in every orientation, weights, and a zero-padded convolution."""

    basis: Tensor

    def __init__(self, in_fields: int, out_fields: int, orientations: int, ring_width: float) -> None:
        super().__init__()
        if not ring_width > 0:
            raise ValueError(f"expected a ring_width above 0, got {ring_width}")
        self.in_fields, self.out_fields, self.orientations = in_fields, out_fields, orientations
        turns = [steerable_basis(2 * math.pi * g / orientations, ring_width) for g in range(orientations)]
        self.register_buffer("basis", torch.stack(turns).to(torch.get_default_dtype()), persistent=False)
        norms = torch.stack([at_rest.norm() for _, at_rest in _harmonics(0.0, ring_width)])
        self.weight = nn.Parameter(self.initial(norms).to(torch.get_default_dtype()))

    @abstractmethod
    def initial(self, norms: Tensor) -> Tensor:
        """Draw weights; ``norms`` (6,) are those divided out of the basis."""

    @abstractmethod
    def kernel(self) -> Tensor:
        """The ordinary convolution kernel (C_out, C_in, 3, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), padding=1)

    def extra_repr(self) -> str:
        return f"{self.in_fields}, {self.out_fields}, orientations={self.orientations}"


class LiftConv(_PlanarConv):
    """Images (N, in, H, W) to regular fields (N, out · orientations, H, W): six parameters per pair of fields."""

    def __init__(self, in_fields: int, out_fields: int, orientations: int, ring_width: float = RING_WIDTH) -> None:
        super().__init__(in_fields, out_fields, orientations, ring_width)

    def initial(self, norms: Tensor) -> Tensor:
        return lift_weights(self.out_fields, self.in_fields, self.orientations, norms)

    def kernel(self) -> Tensor:
        return torch.einsum("oib,gbyx->ogiyx", self.weight, self.basis).flatten(0, 1)


class RegularConv(_PlanarConv):
    """Regular fields to regular fields: 6 · orientations parameters per pair of fields."""

    relative: Tensor

    def __init__(self, in_fields: int, out_fields: int, orientations: int, ring_width: float = RING_WIDTH) -> None:
        super().__init__(in_fields, out_fields, orientations, ring_width)
        steps = torch.arange(orientations)
        self.register_buffer("relative", (steps - steps[:, None]) % orientations, persistent=False)  # [g, k] = k − g

    def initial(self, norms: Tensor) -> Tensor:
        return regular_weights(self.out_fields, self.in_fields, self.orientations, norms)

    def kernel(self) -> Tensor:
        weight = self.weight[:, :, self.relative]  # (out, in, g, k, basis)
        kernel = torch.einsum("oigkb,gbyx->ogikyx", weight, self.basis)
        return kernel.flatten(2, 3).flatten(0, 1)


class ProjectConv(_PlanarConv):
    """Regular fields to images that rotate: six parameters per pair of fields."""

    def __init__(self, in_fields: int, out_fields: int, orientations: int, ring_width: float = RING_WIDTH) -> None:
        super().__init__(in_fields, out_fields, orientations, ring_width)

    def initial(self, norms: Tensor) -> Tensor:
        return project_weights(self.out_fields, self.in_fields, self.orientations, norms)

    def kernel(self) -> Tensor:
        return torch.einsum("oib,kbyx->oikyx", self.weight, self.basis).flatten(1, 2)


class CyclicConv(nn.Module):
    """Channels of a cyclic group mixed alike in every orientation, at each pixel: weights depend on k − g alone."""

    relative: Tensor

    def __init__(self, in_fields: int, out_fields: int, orientations: int) -> None:
        super().__init__()
        steps = torch.arange(orientations)
        self.register_buffer("relative", (steps - steps[:, None]) % orientations, persistent=False)
        weight = torch.empty(out_fields, in_fields, orientations).uniform_(-1, 1)
        self.weight = nn.Parameter(weight / math.sqrt(in_fields * orientations))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight[:, :, self.relative].permute(0, 2, 1, 3).flatten(2, 3).flatten(0, 1)
        return F.conv2d(x, kernel[:, :, None, None])
