"""Interface of encoders of point clouds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Added to the mean squared radius, so that a cloud of one place has a finite gradient.
_EPS = 1e-12


@dataclass(frozen=True)
class Cloud:
    """Clouds as an encoder reads them.

    Attributes:
        points: (N, P, 3) about their mean, of root mean square radius 1.
        normals: (N, P, 3), where the encoder reads them.
        colours: (N, P, 3) in [-1, 1], where the encoder reads them.
    """

    points: Tensor
    normals: Tensor | None
    colours: Tensor | None

    def columns(self) -> Tensor:
        """Join all that is read of a point, (N, P, 3), (N, P, 6) or (N, P, 9)."""
        return torch.cat([x for x in (self.points, self.normals, self.colours) if x is not None], dim=2)


class CloudEncoder(nn.Module, ABC):
    """Encoder of point clouds to local features, and of those to one vector.

    Clouds are moved to their mean and scaled to a root mean square radius of 1 first: neither place nor size is seen.

    Args:
        normals: read the normals too.
        colours: read the colours too.

    Attributes:
        feature_dim: size D of the vector.
        token_dim: size of a local feature.
        fewest_points: of a cloud.
    """

    feature_dim: int
    token_dim: int
    fewest_points: int = 1

    def __init__(self, normals: bool = False, colours: bool = False) -> None:
        super().__init__()
        self.normals, self.colours = normals, colours

    @property
    def invariant_dim(self) -> int:
        """Size of `invariants`."""
        return self.feature_dim

    def invariants(self, features: Tensor) -> Tensor:
        """Compute what identity is read from, (N, invariant_dim), of features (N, D).

        All of it, but for an encoder whose features turn with the cloud: of those, what no rotation changes.
        """
        return features

    @property
    def in_channels(self) -> int:
        """Number of columns of a point."""
        return 3 * (1 + self.normals + self.colours)

    @abstractmethod
    def tokens(self, cloud: Cloud) -> Tensor:
        """Compute local features (N, T, token_dim) of clouds."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> Tensor:
        """Pool local features (N, T, token_dim) to vectors (N, D)."""

    def dense(self, points: Tensor, normals: Tensor | None = None, colours: Tensor | None = None) -> Tensor:
        """Compute local features (N, T, token_dim).

        Args:
            points, normals, colours: as for `forward`, with its errors.
        """
        return self.tokens(self.read(points, normals, colours))

    def forward(self, points: Tensor, normals: Tensor | None = None, colours: Tensor | None = None) -> Tensor:
        """Encode clouds to vectors (N, D).

        Args:
            points: (N, P, 3).
            normals: (N, P, 3); needed where the encoder reads them, and left aside elsewhere.
            colours: (N, P, 3) in [0, 1]; likewise.

        Raises:
            ValueError: for other shapes, what is read but missing, values that are not finite, or too few points.
        """
        return self.pool(self.tokens(self.read(points, normals, colours)))

    def read(self, points: Tensor, normals: Tensor | None, colours: Tensor | None) -> Cloud:
        """Check clouds and bring them to their mean and to unit size, in the weights' precision.

        Args:
            points, normals, colours: as for `forward`, with its errors.
        """
        self._check("points", points, points)
        if points.shape[1] < self.fewest_points:
            raise ValueError(
                f"expected clouds of at least {self.fewest_points} points for {type(self).__name__}, got "
                f"{points.shape[1]}"
            )
        dtype = next(self.parameters()).dtype
        centred = points.to(dtype) - points.to(dtype).mean(dim=1, keepdim=True)
        square = centred.square().sum(dim=2).mean(dim=1)[:, None, None]
        read_normals = self._given("normals", normals, points) if self.normals else None
        read_colours = self._given("colours", colours, points) if self.colours else None
        return Cloud(
            centred / (square + _EPS).sqrt(),
            None if read_normals is None else read_normals.to(dtype),
            None if read_colours is None else 2 * read_colours.to(dtype) - 1,
        )

    def _given(self, name: str, values: Tensor | None, points: Tensor) -> Tensor:
        if values is None:
            raise ValueError(f"expected {name}, which this {type(self).__name__} reads beside the points, got none")
        self._check(name, values, points)
        return values

    @staticmethod
    def _check(name: str, values: Tensor, points: Tensor) -> None:
        if values.ndim != 3 or values.shape[2] != 3 or values.shape != points.shape or 0 in values.shape:
            raise ValueError(f"expected points (N, P, 3) and {name} of their shape, got {tuple(values.shape)}")
        if not values.is_floating_point():
            raise ValueError(f"expected {name} of a floating dtype, got {values.dtype}")
        broken = ~values.isfinite().all(dim=2)
        if broken.any():
            rows = broken.any(dim=1).nonzero()[:, 0].tolist()
            raise ValueError(
                f"expected finite {name}, got {int(broken.sum())} points with NaN or infinite values in clouds {rows}"
            )
