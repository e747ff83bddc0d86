"""Layers on features made of irreps of SO(3), all degrees up to a highest one with the same number of channels.

A feature is (..., L, C): the ``L = (degree + 1)²`` components of all degrees in the basis of `geometry.wigner`, each
with C channels. A rotation multiplies the components of degree l by its Wigner-D matrix and leaves channels alone.
Every layer here commutes with that, whatever its weights.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from equissl.geometry.wigner import E3NN_AXES


def sizes(degree: int) -> list[int]:
    """List the components of each degree up to the highest one."""
    return [2 * order + 1 for order in range(degree + 1)]


def harmonics(vectors: Tensor, degree: int, softness: float | Tensor) -> Tensor:
    """Real spherical harmonics (..., L) of the directions of vectors, smooth at zero.

    They are the homogeneous polynomials ``Y(u)`` of ``u = x / sqrt(|x|² + softness²)``: for long vectors the harmonics
    of their direction, with ``|Y_l|² = 2l + 1``; for a zero vector 0 but for degree 0, with a finite gradient.

    Args:
        vectors: (..., 3) in our axes x, y, z.
        degree: highest degree.
        softness: length below which a vector has no direction to speak of; a number, or (..., 1).
    """
    from e3nn import o3  # a second of start-up time

    soft = vectors / (vectors.square().sum(dim=-1, keepdim=True) + softness**2).sqrt()
    return o3.spherical_harmonics(list(range(degree + 1)), soft[..., E3NN_AXES], False, "component")


@functools.cache
@torch.inference_mode(False)
def coupling_table(degree: int) -> tuple[Tensor, tuple[int, ...]]:
    """Compute all products of two features that are irreps again, up to the highest degree.

    Args:
        degree: highest degree of both factors and of the products.

    Returns:
        Table (rows, L²) float64 on products of components, and the number of products p_l of each degree l. The
        ``(2l + 1) p_l`` rows of a degree follow one another, products of one component together. A product of
        independent components of variance 1 has variance 1.
    """
    from e3nn.o3 import wigner_3j

    starts = [order**2 for order in range(degree + 2)]
    blocks, counts = [], []
    with torch.device("cpu"):  # whatever an encoder is built on, meta included: the table is kept for all
        for out in range(degree + 1):
            pairs = [(a, b) for a in range(degree + 1) for b in range(degree + 1) if abs(a - b) <= out <= a + b]
            table = torch.zeros(2 * out + 1, len(pairs), starts[-1], starts[-1], dtype=torch.float64)
            for path, (a, b) in enumerate(pairs):
                symbols = wigner_3j(a, b, out, dtype=torch.float64).permute(2, 0, 1) * math.sqrt(2 * out + 1)
                table[:, path, starts[a] : starts[a + 1], starts[b] : starts[b + 1]] = symbols
            blocks.append(table.flatten(0, 1).flatten(1))
            counts.append(len(pairs))
        return torch.cat(blocks), tuple(counts)


class IrrepLinear(nn.Module):
    """A linear map of channels for each degree, with a bias on scalars only.

    Args:
        degree: highest degree.
        inputs, outputs: channels.
    """

    def __init__(self, degree: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.sizes = sizes(degree)
        self.maps = nn.ModuleList(nn.Linear(inputs, outputs, bias=order == 0) for order in range(degree + 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.sizes, dim=-2)
        return torch.cat([layer(part) for layer, part in zip(self.maps, parts, strict=True)], dim=-2)


class Coupling(nn.Module):
    """All products of two features that are irreps again, channel by channel, and a linear map of them.

    Args:
        degree: highest degree.
        inputs, outputs: channels.
    """

    table: Tensor

    def __init__(self, degree: int, inputs: int, outputs: int) -> None:
        super().__init__()
        table, self.counts = coupling_table(degree)
        self.sizes = sizes(degree)
        self.register_buffer("table", table.clone(), persistent=False)
        self.maps = nn.ModuleList(
            nn.Linear(count * inputs, outputs, bias=order == 0) for order, count in enumerate(self.counts)
        )

    def forward(self, products: Tensor) -> Tensor:
        """Map products of components (..., L², C) to (..., L, C'); the first factor's component comes first."""
        coupled = self.table.to(products.dtype) @ products
        rows = [size * count for size, count in zip(self.sizes, self.counts, strict=True)]
        parts = coupled.split(rows, dim=-2)
        return torch.cat(
            [
                layer(part.unflatten(-2, (size, -1)).flatten(-2))
                for layer, part, size in zip(self.maps, parts, self.sizes, strict=True)
            ],
            dim=-2,
        )


class SelfProduct(nn.Module):
    """Gated products of two linear maps of a feature, added to it.

    Args:
        degree: highest degree.
        width: channels.
    """

    def __init__(self, degree: int, width: int) -> None:
        super().__init__()
        self.norm = IrrepNorm(degree, width)
        self.factors = IrrepLinear(degree, width, 2 * width)
        self.coupling = Coupling(degree, width, width)
        self.gate = Gate(degree, width)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.factors(self.norm(x)).chunk(2, dim=-1)
        products = (first.unsqueeze(-2) * second.unsqueeze(-3)).flatten(-3, -2)
        return x + self.gate(self.coupling(products))


class Gate(nn.Module):
    """SiLU on scalars; other components times a number in [0, 1] that the scalars choose.

    Args:
        degree: highest degree.
        width: channels.
    """

    owners: Tensor

    def __init__(self, degree: int, width: int) -> None:
        super().__init__()
        self.shape = (degree, width)
        self.gates = nn.Linear(width, degree * width)
        owners = torch.tensor([order for order, size in enumerate(sizes(degree)[1:]) for _ in range(size)])
        self.register_buffer("owners", owners, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scalars, others = x[..., :1, :], x[..., 1:, :]
        gates = self.gates(scalars.squeeze(-2)).sigmoid().unflatten(-1, self.shape)
        return torch.cat([nn.functional.silu(scalars), others * gates.index_select(-2, self.owners)], dim=-2)


class IrrepNorm(nn.Module):
    """LayerNorm of scalars; other degrees divided by their root mean square over components and channels.

    Args:
        degree: highest degree.
        width: channels.
        eps: added to the mean squares. Symmetric surroundings have no vectors but rounding, which stays small.
    """

    def __init__(self, degree: int, width: int, eps: float = 1e-2) -> None:
        super().__init__()
        self.sizes, self.eps = sizes(degree), eps
        self.scalars = nn.LayerNorm(width)
        self.scales = nn.Parameter(torch.ones(degree, width))

    def forward(self, x: Tensor) -> Tensor:
        scalars, *others = x.split(self.sizes, dim=-2)
        normed = [
            part * (part.square().mean(dim=(-2, -1), keepdim=True) + self.eps).rsqrt() * scale
            for part, scale in zip(others, self.scales, strict=True)
        ]
        return torch.cat([self.scalars(scalars), *normed], dim=-2)
