"""MV-InfoNCE against its definition, pair by pair, and its relation to NT-Xent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.nt_xent import nt_xent


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(z: Tensor, temperature: float, negatives: str) -> float:
    batch, views, _ = z.shape
    unit = (z / z.norm(dim=2, keepdim=True)).numpy()
    losses = []
    for i in range(batch):
        denominator, numerator = [], []
        for v, j, w in itertools.product(range(views), range(batch), range(views)):
            logit = unit[i, v] @ unit[j, w] / temperature
            if (j, w) != (i, v) and (negatives == "all" or w != v):
                denominator.append(logit)
            if j == i and w != v:
                numerator.append(logit)
        losses.append(logsumexp(denominator) - logsumexp(numerator))
    return float(np.mean(losses))


@pytest.mark.parametrize("negatives", ["all", "cross_view"])
@pytest.mark.parametrize("views", [2, 3])
def test_matches_the_definition_pair_by_pair(views: int, negatives) -> None:
    z = random(5, views, 6)
    assert mv_info_nce(z, 0.2, negatives).item() == pytest.approx(naive(z, 0.2, negatives), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_two_views_are_at_least_nt_xent(seed: int) -> None:
    """By the inequality of means, with equality where both views of an instance have equal denominators."""
    z = random(5, 2, 6, seed=seed)
    assert mv_info_nce(z, 0.2) > nt_xent(z, 0.2)
    same = z[:, :1].expand(-1, 2, -1)
    assert mv_info_nce(same, 0.2).item() == pytest.approx(nt_xent(same, 0.2).item(), rel=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match="'all' or 'cross_view', got 'own'"):
        mv_info_nce(random(4, 2, 6), 0.1, "own")  # type: ignore[arg-type]
