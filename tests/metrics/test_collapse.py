"""Collapse diagnostics against closed forms and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equissl.metrics import feature_std, rankme

FEATURES = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(1, 7)


def test_feature_std_matches_numpy() -> None:
    assert feature_std(FEATURES) == pytest.approx(FEATURES.numpy().std(axis=0, ddof=1).mean(), rel=1e-12)
    unit = FEATURES.numpy() / np.linalg.norm(FEATURES.numpy(), axis=1, keepdims=True)
    assert feature_std(1e3 * FEATURES, normalize=True) == pytest.approx(unit.std(axis=0, ddof=1).mean(), rel=1e-12)
    assert feature_std(torch.full((5, 3), 0.1)) == pytest.approx(0, abs=1e-15)


def test_rankme_closed_forms() -> None:
    assert rankme(torch.eye(7)) == pytest.approx(7, rel=1e-12)
    assert rankme(torch.ones(9, 5)) == pytest.approx(1, abs=1e-6)
    assert rankme(torch.zeros(9, 5)) == 0
    p = np.array([3.0, 1.0]) / 4
    assert rankme(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-12)


def test_rankme_is_the_papers_formula_without_its_epsilon() -> None:
    values = np.linalg.svd(FEATURES.numpy(), compute_uv=False)
    p = values / values.sum() + 1e-7
    assert rankme(FEATURES) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_rankme_ignores_rotation_and_scale_and_sees_lost_dimensions() -> None:
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    assert rankme(100 * FEATURES @ basis) == pytest.approx(rankme(FEATURES), rel=1e-9)
    assert rankme(FEATURES * torch.tensor([1, 1, 0, 0, 0, 0])) <= 2 + 1e-9 < rankme(FEATURES)


@pytest.mark.parametrize("metric", [feature_std, rankme])
def test_errors(metric) -> None:
    with pytest.raises(ValueError, match=r"shape \(N, D\) with N >= 2, got \(1, 4\)"):
        metric(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="finite features, got 1 NaN or infinite"):
        metric(torch.tensor([[0.0, 1], [float("nan"), 2]]))
