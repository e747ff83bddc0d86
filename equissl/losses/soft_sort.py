"""Differentiable sorting networks (Petersen et al., ICML 2021; Cauchy swaps: Petersen et al., ICLR 2022).

A sorting network compares fixed pairs of wires in layers. Here the two values of a pair are mixed instead of swapped,
with a weight that rises with their difference, so that every output depends smoothly on every input.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from equissl.losses.precision import full_precision

Network = Literal["odd_even", "bitonic"]
Swap = Literal["cauchy", "logistic"]


class _Layer(NamedTuple):
    """One layer: wire i becomes ``keep[i] * wire i + exchange[i] * wire partner[i]``."""

    partner: Tensor
    keep: Tensor
    exchange: Tensor

    def mix(self, table: Tensor) -> Tensor:
        """Mix the wires of (..., R, n) rows of values."""
        return self.keep[..., None, :] * table + self.exchange[..., None, :] * table.index_select(-1, self.partner)


@full_precision
def soft_sort(
    values: Tensor,
    steepness: float | Tensor = 1.0,
    network: Network = "odd_even",
    swap: Swap = "cauchy",
) -> tuple[Tensor, Tensor]:
    """Sort the last dimension ascending, softly.

    Args:
        values: (..., n) numbers.
        steepness: multiplies differences before the swap function; the larger, the nearer to a hard sort.
        network: ``"odd_even"`` has n layers, ``"bitonic"`` about log2(n)² / 2 of them, for any n.
        swap: share of the smaller value that stays on the lower wire, for a scaled difference v of upper minus lower:
            ``"cauchy"`` is 1/2 + arctan(v) / pi, ``"logistic"`` is the sigmoid of v.

    Returns:
        The (..., n) sorted values, and the doubly stochastic (..., n, n) matrix ``P[item, rank]`` with
        ``sorted = values @ P``. Its memory is n² per layer and row of values.

    Raises:
        ValueError: for values that are empty or not floating point, a steepness that is not positive, or an unknown
            network or swap function.
    """
    ordered, layers = _run(values, steepness, network, swap)
    count = values.shape[-1]
    matrix = torch.eye(count, dtype=values.dtype, device=values.device).expand(*values.shape, count)
    for layer in layers:
        matrix = layer.mix(matrix)
    return ordered, matrix


@full_precision
def rank_mass(
    values: Tensor,
    ranks: Tensor,
    steepness: float | Tensor = 1.0,
    network: Network = "odd_even",
    swap: Swap = "cauchy",
) -> Tensor:
    """Probability of each item to be sorted to one of a set of ranks: products of `soft_sort`'s matrix with ``ranks``.

    The layers are applied to the sets from last to first, so that the matrix never exists: memory is n per layer, set
    and row of values instead of n².

    Args:
        values: (..., n) numbers.
        ranks: (G, n) weights of the ranks, ascending, in each of G sets.
        steepness, network, swap: as in `soft_sort`.

    Returns:
        (..., G, n) of ``sum_r P[item, r] ranks[g, r]``.

    Raises:
        ValueError: as `soft_sort`, or for ranks of another shape.
    """
    if ranks.ndim != 2 or ranks.shape[-1] != values.shape[-1]:
        raise ValueError(f"expected ranks of shape (G, {values.shape[-1]}), got {tuple(ranks.shape)}")
    _, layers = _run(values, steepness, network, swap)
    mass = ranks.to(values.dtype)
    for layer in reversed(layers):  # the mixing of a layer is symmetric
        mass = layer.mix(mass)
    return mass.expand(*values.shape[:-1], *ranks.shape)  # a network of one wire has no layer that would do it


def _run(values: Tensor, steepness: float | Tensor, network: Network, swap: Swap) -> tuple[Tensor, list[_Layer]]:
    _check(values, steepness, network, swap)
    share = _cauchy if swap == "cauchy" else torch.sigmoid
    wires = torch.arange(values.shape[-1], device=values.device)
    layers = []
    for offset, mask in _pairings(network, len(wires)):
        partner = ((wires + offset) ^ mask) - offset
        partner = torch.where((partner >= 0) & (partner < len(wires)), partner, wires)
        other = values.index_select(-1, partner)
        # Both wires of a pair see upper minus lower. A wire without a partner mixes with itself, half and half.
        gap = steepness * torch.where(partner < wires, values - other, other - values)
        layer = _Layer(partner, share(gap), share(-gap))
        values = layer.keep * values + layer.exchange * other
        layers.append(layer)
    return values, layers


def _cauchy(gap: Tensor) -> Tensor:
    """1/2 + arctan(gap) / pi, without the cancellation for gaps far below 0."""
    return torch.atan2(torch.ones_like(gap), -gap) / math.pi


def _pairings(network: Network, count: int) -> list[tuple[int, int]]:
    """Offset and mask of every layer: wire i meets wire ``((i + offset) xor mask) - offset``, where that exists.

    The bitonic network is the one whose comparators all point upwards: each merge first mirrors a block onto itself.
    Wires that are missing from a power of two are the lowest; they would hold minus infinity and never move, so
    that leaving them out still sorts.
    """
    if network == "odd_even":
        return [(-(layer % 2), 1) for layer in range(count if count > 1 else 0)]
    depth = (count - 1).bit_length()
    masks = [m for level in range(depth) for m in (2 ** (level + 1) - 1, *(2**e for e in range(level - 1, -1, -1)))]
    return [(2**depth - count, mask) for mask in masks]


def _check(values: Tensor, steepness: float | Tensor, network: Network, swap: Swap) -> None:
    if values.ndim == 0 or values.shape[-1] == 0 or not values.is_floating_point():
        raise ValueError(f"expected floating-point values of shape (..., n), got {values.dtype} {tuple(values.shape)}")
    if not isinstance(steepness, Tensor) and not steepness > 0:
        raise ValueError(f"expected a positive steepness, got {steepness}")
    if network not in ("odd_even", "bitonic"):
        raise ValueError(f"expected network to be 'odd_even' or 'bitonic', got {network!r}")
    if swap not in ("cauchy", "logistic"):
        raise ValueError(f"expected swap to be 'cauchy' or 'logistic', got {swap!r}")
