"""Equivariance errors of the features of a sweep.

All errors here are relative: the mean squared distance between a feature after the change and the one that should have
moved there, over the mean squared distance between unrelated cells of the same scenes. 0 is exact, 1 is as far as
unrelated cells are. A constant added to all features, a rotation of the feature space and a common scale change
nothing, so that encoders of different loudness can be compared; features that are all equal have no error (NaN), since
such an encoder would otherwise pass as equivariant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EQUAL = 1e-10  # unrelated cells closer than this share of the features' mean square are all the same


@dataclass
class RelativeDistance:
    """Mean ‖pᵢ − tᵢ‖² over the mean ‖pᵢ − tⱼ‖² of unrelated rows i ≠ j of the same sweep, sweep after sweep.

    The denominator is the exact mean over all ordered pairs of rows of a scene, not an estimate from drawn pairs.
    Scenes count by their number of rows.
    """

    matched: float = 0.0
    unrelated: float = 0.0
    magnitude: float = 0.0
    rows: int = 0

    def update(self, preds: Tensor, target: Tensor, chosen: Tensor | None = None) -> None:
        """Add the rows of one sweep.

        Args:
            preds: (N, D) features.
            target: (N, D) what they should be.
            chosen: (N,) bool: rows pᵢ that count; what they are compared with, tⱼ, stays the whole scene. None: all.

        Raises:
            ValueError: for other shapes, NaN or infinite values.
        """
        preds, target = _checked(preds, target)
        if len(preds) < 2:
            return
        own, others = _distances(preds, target)
        magnitude = preds.square().sum(1) + target.square().sum(1)
        if chosen is not None:
            own, others, magnitude = (values[chosen.to(values.device)] for values in (own, others, magnitude))
        self.matched, self.rows = self.matched + float(own.sum()), self.rows + len(own)
        self.unrelated += float(others.sum())
        self.magnitude += float(magnitude.sum())

    def compute(self) -> float:
        """0 for equal features, about 1 for independent ones; NaN without rows, or where unrelated ones are equal."""
        if self.rows == 0 or self.unrelated <= EQUAL * self.magnitude:
            return float("nan")
        return self.matched / self.unrelated


def carry_features(features: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Move features along points: each target cell gets the mean over its points of their source cells' features.

    This is the warp of flow-equivariant learning, and with a rotation instead of a flow the rotated map.

    Args:
        features: (N, D) of the source cells.
        source: (P,) int64 source row of each point; -1 for none.
        target: (P,) int64 target row of each point; -1 for none.

    Returns:
        the rows (M,) of target cells that a point came to, increasing; and what was carried there (M, D), float64.
    """
    if source.shape != target.shape or source.ndim != 1:
        raise ValueError(f"expected two rows of each point, got {tuple(source.shape)} and {tuple(target.shape)}")
    kept = (source >= 0) & (target >= 0)
    rows, cell, counts = target[kept].unique(return_inverse=True, return_counts=True)
    total = features.new_zeros(len(rows), features.shape[1], dtype=torch.float64)
    total.index_add_(0, cell, features.detach().double()[source[kept]])
    return rows, total / counts[:, None].clamp_min(1)


def shift_error(before: Tensor, after: Tensor, before_sites: Tensor, after_sites: Tensor, shift: Tensor) -> float:
    """Compute the largest absolute difference between features and those of the shifted input, site by site.

    Args:
        before, after: (N, D) and (M, D) features.
        before_sites, after_sites: (N, K) and (M, K) integer positions, each once.
        shift: (K,) what the shift adds to a position.

    Returns:
        0 for exact equivariance; infinite where the two do not have the same sites.
    """
    places, sites = before_sites.long() + shift.to(before_sites.device).long(), after_sites.long()
    if places.shape != sites.shape:
        return float("inf")
    order, other = _sorted_rows(places), _sorted_rows(sites)
    if not torch.equal(places[order], sites[other]):
        return float("inf")
    difference = (before[order].detach().double() - after[other].detach().double()).abs()
    return float(difference.max()) if difference.numel() else 0.0


def _sorted_rows(positions: Tensor) -> Tensor:
    """Order of rows, the first column first."""
    order = torch.arange(len(positions), device=positions.device)
    for column in reversed(range(positions.shape[1])):
        order = order[positions[order, column].argsort(stable=True)]
    return order


def _distances(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """‖pᵢ − tᵢ‖² (N,), and the mean of ‖pᵢ − tⱼ‖² over j ≠ i (N,), from sums alone.

    Both are centred first, so that no digits are lost.
    """
    own, centre = (p - t).square().sum(1), t.mean(0)
    p, t = p - centre, t - centre
    everything = len(p) * p.square().sum(1) + t.square().sum() - 2 * p @ t.sum(0)
    return own, ((everything - own) / (len(p) - 1)).clamp_min(0)


def _checked(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if preds.ndim != 2 or preds.shape != target.shape:
        raise ValueError(f"expected two (N, D) of one shape, got {tuple(preds.shape)} and {tuple(target.shape)}")
    preds, target = preds.detach().double(), target.detach().double()
    if not (preds.isfinite().all() and target.isfinite().all()):
        raise ValueError("expected finite features, got NaN or infinite values")
    return preds, target
