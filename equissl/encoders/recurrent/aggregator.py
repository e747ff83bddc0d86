"""Aggregators of a sequence of feature maps, or of tokens, by a flow equivariant cell."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from equissl.encoders.recurrent.cell import Pool, RecurrentCell, pool_velocities, torus_conv
from equissl.encoders.recurrent.planar_conv import CyclicConv
from equissl.encoders.recurrent.velocities import CyclicVelocities, TranslationVelocities


class RecurrentAggregator(nn.Module):
    """Aggregator of the feature maps of T views (B, T, C, h, w) to one vector (B, ``feature_dim``).

    A 1 × 1 convolution gives the maps orientation channels, whose cyclic shifts stand for a yaw of the object (which a
    fixed camera does not see as a motion of the image: the encoder has to learn them); the cell keeps one slice for
    each yaw velocity. What is pooled over velocities and space keeps the orientation channels, or drops them too.

    Args:
        in_channels: C.
        channels: fields of the hidden state, each with ``orientations`` channels.
        orientations: order of the yaw group.
        radius: yaw velocities −radius..radius, in group steps from view to view; half of ``orientations`` takes all.
        motion: ``yaw``, or ``translation`` of the maps themselves on the torus.
        pool: over velocities.
        invariant: also take the maximum over orientations.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 64,
        orientations: int = 8,
        radius: int = 1,
        motion: Literal["yaw", "translation"] = "yaw",
        pool: Pool = "max",
        invariant: bool = False,
    ) -> None:
        super().__init__()
        if motion not in ("yaw", "translation"):
            raise ValueError(f"expected motion 'yaw' or 'translation', got {motion!r}")
        self.orientations = orientations if motion == "yaw" else 1
        self.embed = nn.Conv2d(in_channels, channels * self.orientations, 1, bias=False)
        if motion == "yaw":
            lift, recurrent = (CyclicConv(channels, channels, orientations) for _ in range(2))
            self.cell = RecurrentCell(CyclicVelocities(radius, orientations), lift, recurrent)
        else:
            self.cell = RecurrentCell(
                TranslationVelocities(radius), torus_conv(channels, channels), torus_conv(channels, channels)
            )
        self.pool, self.invariant = pool, invariant
        self.feature_dim = channels * (1 if invariant else self.orientations)

    def forward(self, maps: Tensor) -> Tensor:
        """Compute (B, feature_dim) of maps (B, T, C, h, w)."""
        embedded = self.embed(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        state = self.cell.encode(embedded)
        pooled = pool_velocities(self.cell.look(state), self.pool).mean(dim=(-2, -1))
        return pooled.unflatten(-1, (-1, self.orientations)).amax(dim=-1) if self.invariant else pooled


class RecurrentTokenAggregator(nn.Module):
    """Aggregator in place of seq-JEPA's transformer: tokens (B, M, dim) to aggregates (B, dim), in the order they came.

    A token is a feature map of one pixel. All yaw velocities of the group are followed; what is pooled over them is
    normalised, as the transformer's output is.

    Args:
        dim: size of a token and of the aggregate, a multiple of ``orientations``.
        orientations: order of the yaw group.

    Raises:
        ValueError: ``dim`` not a multiple of ``orientations``.
    """

    def __init__(self, dim: int, orientations: int = 8) -> None:
        super().__init__()
        if dim % orientations:
            raise ValueError(f"expected tokens of a multiple of the {orientations} orientations, got {dim}")
        self.dim = dim
        self.maps = RecurrentAggregator(dim, dim // orientations, orientations, radius=orientations // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Aggregate tokens (B, M, dim), at least one each, to (B, dim)."""
        if tokens.ndim != 3 or tokens.shape[1] < 1 or tokens.shape[2] != self.dim:
            raise ValueError(f"expected tokens (B, M, {self.dim}) with M of at least 1, got {tuple(tokens.shape)}")
        return self.norm(self.maps(tokens[..., None, None]))
