"""Gaussian potentials between the points of a set, without keeping large tables of distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from equissl.losses import similarity


def log_potentials(x: Tensor, t: float, own: bool = False) -> Tensor:
    """``log sum_j exp(-t ||x_i - x_j||²)`` of each point.

    Squared distances come from one matrix product of the centred points: their rounding error is relative to the
    spread of the set, not to its distance from the origin, so a collapsed set has potentials of 1 wherever it lies.
    Tables beyond ``similarity.TABLE_ELEMENTS`` are built block by block, and again in the backward.

    Args:
        x: (..., N, D) points; leading dimensions are sets of their own.
        t: sharpness of the potential.
        own: whether a point meets itself, with a potential of 1.

    Returns:
        (..., N); minus infinity for a lone point that does not meet itself. NaN and infinite points give NaN.
    """
    # Distances do not depend on the shift, so it needs no gradient.
    x = x - x.detach().mean(dim=-2, keepdim=True)
    squares = x.square().sum(dim=-1)
    count = x.shape[-2]
    places = torch.arange(count, device=x.device)

    def block(start: int, stop: int) -> Tensor:
        rows, norms = x[..., start:stop, :], squares[..., start:stop]
        energy = -t * (norms[..., :, None] + squares[..., None, :] - 2 * rows @ x.mT)
        itself = places[start:stop, None] == places
        return energy.masked_fill(itself, 0.0 if own else float("-inf")).logsumexp(dim=-1)

    sets = squares.numel() // count
    if sets * count * count <= similarity.TABLE_ELEMENTS:
        return block(0, count)
    step = max(1, similarity.TABLE_ELEMENTS // (sets * count))
    blocks = [
        checkpoint(block, start, min(start + step, count), use_reentrant=False, preserve_rng_state=False)
        for start in range(0, count, step)
    ]
    return torch.cat(blocks, dim=-1)


def log_mean_potential(x: Tensor, t: float) -> Tensor:
    """``log mean_{i != j} exp(-t ||x_i - x_j||²)`` of each set: its uniformity.

    Args:
        x: (..., N, D) points, N >= 2; leading dimensions are sets of their own.
        t: sharpness of the potential.

    Returns:
        (...), at most 0, which is collapse.
    """
    count = x.shape[-2]
    return log_potentials(x, t).logsumexp(dim=-1) - math.log(count * (count - 1))
