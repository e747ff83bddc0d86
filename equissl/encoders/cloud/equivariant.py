"""Encoder of point clouds whose features a rotation of the cloud moves by Wigner-D matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equissl.encoders.cloud.base import Cloud, CloudEncoder
from equissl.encoders.cloud.irrep_layers import (
    Coupling,
    Gate,
    IrrepLinear,
    IrrepNorm,
    SelfProduct,
    harmonics,
    sizes,
)
from equissl.encoders.cloud.neighbours import Centres, choose_centres, nearest, take
from equissl.geometry.irreps import rotation_irreps
from equissl.losses.precision import full_precision

if TYPE_CHECKING:
    from e3nn.o3 import Irreps

_BASIS = 8  # radial functions
_REACH = 2.5  # radius of the outermost one about the mean, in root mean square radii
# Squared lengths, in units of the cloud's squared size, below which points count as one place.
_PLACE = 1e-6
# Length below which a direction fades, in radii of the surroundings.
_SOFT = 0.1


class EquivariantCloudEncoder(CloudEncoder):
    """Irreps in, irreps out: ``f(R x) = D(R) f(x)`` for every rotation R, up to rounding and whatever the weights.

    D is the sum of `geometry.wigner_ds` over `irreps`, so features are those that
    :class:`~equissl.predictors.GroupRepresentation` moves and compares. Turning about the mean, moving and scaling the
    cloud are all that matters: features do not change when it is moved or scaled.

    Tensor field networks (Thomas et al. 2018, arXiv 1802.08219) in a form of our own that is cheap on a CPU: a
    neighbour's feature, times a radial function for each channel, meets the harmonics of its direction in one matrix
    product that sums over neighbours; only that sum is coupled to irreps by e3nn's 3j symbols. Since the radial
    functions know no degree, this is the same as coupling for every neighbour. Products of a feature with itself, gates
    and norms lie between the sums.

    A point enters with the harmonics of its place about the mean, of its normal, and with its colour. Surroundings are
    the k nearest points, their radius is the distance to the k-th, whose own weight is 0: so features are continuous
    where a neighbour takes another's place. Lengths are in units of that radius and weights sum to 1, so that the
    density of the points is not seen.

    Args:
        irreps: of the vector, in e3nn's notation; all even, see :func:`~equissl.geometry.irreps.rotation_irreps`.
        width: channels of each degree in the layers; the last ones, on the whole cloud, have four times as many.
        layers: sums over neighbours: the first from points to centres, the others among centres.
        degree: highest degree in the layers; None is the highest of ``irreps``, at least 2.
        centres: number of local features, see `choose_centres`.
        neighbours: k.
        choice: of the centres. ``farthest`` is exact as well, but for clouds where rounding picks other centres.
        normals, colours: as in `CloudEncoder`.

    Attributes:
        irreps: of the vector.
        token_irreps: of a local feature.

    Raises:
        ValueError: for irreps that are none of SO(3), or sizes out of range.
    """

    def __init__(
        self,
        irreps: str | Irreps = "64x0e+32x1e+32x2e",
        width: int = 16,
        layers: int = 2,
        degree: int | None = None,
        centres: int = 128,
        neighbours: int = 16,
        choice: Centres = "spread",
        normals: bool = False,
        colours: bool = False,
    ) -> None:
        super().__init__(normals, colours)
        self.irreps = rotation_irreps(irreps)
        highest = max((ir.l for _, ir in self.irreps), default=0)
        self.degree = max(2, highest) if degree is None else degree
        if not self.irreps or self.degree < max(1, highest):
            raise ValueError(f"expected irreps of degrees up to {degree}, got {str(self.irreps)!r}")
        if min(width, layers, centres) < 1 or neighbours < 2:
            raise ValueError(
                "expected width, layers and centres of at least 1 and at least 2 neighbours, got "
                f"{width=}, {layers=}, {centres=}, {neighbours=}"
            )
        self.centres, self.fewest_points, self.choice = centres, neighbours, choice
        self.token_irreps = rotation_irreps("+".join(f"{width}x{order}e" for order in range(self.degree + 1)))
        self.feature_dim, self.token_dim = self.irreps.dim, self.token_irreps.dim
        whole = 4 * width
        self.embed = _PointEmbedding(self.degree, width, normals, colours)
        self.skip = IrrepLinear(self.degree, width, width)
        self.sums = nn.ModuleList(_NeighbourSum(self.degree, width) for _ in range(layers))
        self.products = nn.ModuleList(SelfProduct(self.degree, width) for _ in range(layers))
        self.norm = IrrepNorm(self.degree, width)
        self.attention = nn.Linear(width, width)
        self.widen = IrrepLinear(self.degree, width, whole)
        self.whole = nn.Sequential(SelfProduct(self.degree, whole), IrrepNorm(self.degree, whole))
        self.out = nn.ModuleList(nn.Linear(whole, copies, bias=ir.l == 0) for copies, ir in self.irreps)

    def tokens(self, cloud: Cloud) -> Tensor:
        """Compute the features of centres, (N, M, L, width): components before channels."""
        points, features = cloud.points, self.embed(cloud)
        chosen = choose_centres(points, self.centres, self.choice)
        places = take(points, chosen)
        x = self.skip(take(features.flatten(2), chosen).view(*chosen.shape, *features.shape[2:]))
        for number, (gather, product) in enumerate(zip(self.sums, self.products, strict=True)):
            source = (points, features) if number == 0 else (places, x)
            x = product(x + gather(*source, places, min(self.fewest_points, source[0].shape[1])))
        return self.norm(x)

    def pool(self, tokens: Tensor) -> Tensor:
        shares = self.attention(tokens[:, :, 0]).softmax(dim=1)
        x = self.whole(self.widen((tokens * shares[:, :, None]).sum(dim=1)))
        terms = zip(self.out, self.irreps, strict=True)
        return self._lay_out([layer(x[:, ir.l**2 : (ir.l + 1) ** 2]) for layer, (_, ir) in terms])

    @full_precision
    def forward(self, points: Tensor, normals: Tensor | None = None, colours: Tensor | None = None) -> Tensor:
        return super().forward(points, normals, colours)

    @full_precision
    def dense(self, points: Tensor, normals: Tensor | None = None, colours: Tensor | None = None) -> Tensor:
        """Compute the features of centres (N, M, token_dim), of type `token_irreps`.

        Args:
            points, normals, colours: as for `forward`, with its errors.
        """
        return self._lay_out(self.tokens(self.read(points, normals, colours)).split(sizes(self.degree), dim=2))

    @property
    def invariant_dim(self) -> int:
        return sum(copies for copies, _ in self.irreps)

    def invariants(self, features: Tensor) -> Tensor:
        """Compute what a rotation of the cloud leaves alone, (N, invariant_dim): scalars, and lengths of other copies.

        Args:
            features: (N, D) of `forward`.

        Raises:
            ValueError: for another size.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_dim:
            raise ValueError(f"expected features (N, {self.feature_dim}), got {tuple(features.shape)}")
        parts = features.split([copies * ir.dim for copies, ir in self.irreps], dim=1)
        return torch.cat(
            [
                part if ir.l == 0 else (part.unflatten(1, (copies, ir.dim)).square().sum(dim=2) + _PLACE).sqrt()
                for part, (copies, ir) in zip(parts, self.irreps, strict=True)
            ],
            dim=1,
        )

    @staticmethod
    def _lay_out(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
        """(..., D) as e3nn and `GroupRepresentation` lay irreps out: one copy after the other."""
        return torch.cat([part.mT.flatten(-2) for part in parts], dim=-1)


class _PointEmbedding(nn.Module):
    """First features (N, P, L, C) of points."""

    def __init__(self, degree: int, width: int, normals: bool, colours: bool) -> None:
        super().__init__()
        self.degree, self.width = degree, width
        self.place = nn.Linear(_BASIS, (degree + 1) * width)
        self.normal = nn.Parameter(torch.randn(degree + 1, width)) if normals else None
        self.colour = nn.Linear(3, width, bias=False) if colours else None

    def forward(self, cloud: Cloud) -> Tensor:
        radius = (cloud.points.square().sum(dim=2) + _PLACE).sqrt()
        radial = self.place(_bumps(radius / _REACH)).unflatten(2, (self.degree + 1, self.width))
        x = self._spread(radial) * harmonics(cloud.points, self.degree, _SOFT)[..., None]
        if self.normal is not None and cloud.normals is not None:
            x = x + self._spread(self.normal) * harmonics(cloud.normals, self.degree, _SOFT)[..., None]
        if self.colour is not None and cloud.colours is not None:
            x = torch.cat([x[:, :, :1] + self.colour(cloud.colours)[:, :, None], x[:, :, 1:]], dim=2)
        return x

    def _spread(self, x: Tensor) -> Tensor:
        """(..., degree + 1, C) to (..., L, C): what belongs to a degree for each of its components."""
        return torch.cat([part.expand(*part.shape[:-2], size, -1) for part, size in self._degrees(x)], dim=-2)

    def _degrees(self, x: Tensor) -> list[tuple[Tensor, int]]:
        return list(zip(x.split(1, dim=-2), sizes(self.degree), strict=True))


class _NeighbourSum(nn.Module):
    """Weighted mean over neighbours of their feature ⊗ the harmonics of their direction, coupled to irreps."""

    def __init__(self, degree: int, width: int) -> None:
        super().__init__()
        self.degree = degree
        self.radial = nn.Linear(_BASIS, width)
        self.coupling, self.gate = Coupling(degree, width, width), Gate(degree, width)

    def forward(self, points: Tensor, features: Tensor, places: Tensor, neighbours: int) -> Tensor:
        """(N, P, 3) and (N, P, L, C) to (N, M, L, C) at places (N, M, 3)."""
        around = nearest(places, points, neighbours)
        offsets = take(points, around) - places[:, :, None]
        square = offsets.square().sum(dim=3)
        radius = square.amax(dim=2, keepdim=True) + _PLACE
        closeness = square / radius  # even on a surface, on which the number of points grows with the square
        weights = (1 - closeness).square()
        weights = weights / weights.sum(dim=2, keepdim=True)
        directions = harmonics(offsets, self.degree, _SOFT * radius.sqrt()[..., None])
        radial = self.radial(_bumps(closeness)) * weights[..., None]
        messages = take(features.flatten(2), around).unflatten(3, features.shape[2:]) * radial[:, :, :, None]
        products = directions.mT @ messages.flatten(3)  # (N, M, L, L · C)
        return self.gate(self.coupling(products.unflatten(3, features.shape[2:]).flatten(2, 3)))


def _bumps(x: Tensor) -> Tensor:
    """(..., basis) Gaussians of numbers in about [0, 1], at even distances."""
    places = torch.linspace(0, 1, _BASIS, dtype=x.dtype, device=x.device)
    return torch.exp(-((x[..., None] - places) * (_BASIS - 1)).square() / 2)
