"""Alignment, uniformity, and tolerance against closed forms and pairwise sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equissl.metrics.hypersphere import alignment, tolerance, uniformity

X = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def test_golden_values() -> None:
    a, b = on_circle(0, 90, 200), on_circle(20, 70, 230)
    assert alignment(torch.stack((2 * a, b), dim=1)) == pytest.approx(0.1697262364, abs=1e-9)
    assert uniformity(3 * a) == pytest.approx(-4.8533882723, abs=1e-9)


def test_closed_forms() -> None:
    assert uniformity(torch.eye(6), t=1.5) == pytest.approx(-3)
    assert uniformity(torch.eye(6) - 1 / 6) == pytest.approx(-4 * 6 / 5)
    assert uniformity(on_circle(10, 190)) == pytest.approx(-8)
    assert uniformity(torch.full((7, 3), 0.3)) == pytest.approx(0, abs=1e-12)
    assert alignment(X[:, None].expand(30, 3, 5), alpha=1.0) == 0


def test_uniformity_in_blocks_is_the_mean_over_pairs() -> None:
    x = torch.randn(1100, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    distances = torch.pdist(torch.nn.functional.normalize(x, dim=1))
    assert uniformity(x) == pytest.approx((-2 * distances.square()).exp().mean().log().item(), rel=1e-10)


def test_alignment_averages_pairs_of_views() -> None:
    z = X.view(10, 3, 5)
    pairs = [alignment(z[:, [i, j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert alignment(z) == pytest.approx(np.mean(pairs))
    cosine = torch.nn.functional.cosine_similarity(z[:, 0], z[:, 1]).mean().item()
    assert pairs[0] == pytest.approx(2 - 2 * cosine)


def test_tolerance_is_the_mean_over_pairs_of_one_label() -> None:
    labels = torch.tensor([3, 9, 3, 4, 9, 3] * 5)
    unit = torch.nn.functional.normalize(X, dim=1)
    same = (labels[:, None] == labels) & ~torch.eye(30, dtype=torch.bool)
    assert tolerance(4 * X, labels) == pytest.approx((unit @ unit.T)[same].mean().item(), rel=1e-10)
    assert tolerance(torch.eye(3)[labels % 3], labels % 3) == pytest.approx(1)
    assert tolerance(torch.eye(4), torch.zeros(4, dtype=torch.long)) == pytest.approx(0, abs=1e-12)


def test_errors() -> None:
    for metric in (uniformity, lambda x: tolerance(x, torch.zeros(len(x), dtype=torch.long))):
        with pytest.raises(ValueError, match=r"shape \(N, D\) with N >= 2, got \(1, 5\)"):
            metric(X[:1])
        with pytest.raises(ValueError, match="finite features, got 150 NaN"):
            metric(X * float("nan"))
    with pytest.raises(ValueError, match=r"N, V >= 2, got \(30, 1, 5\)"):
        alignment(X[:, None])
    with pytest.raises(ValueError, match=r"\(30,\) integer labels, got torch.float64"):
        tolerance(X, X[:, 0])
    with pytest.raises(ValueError, match="two samples of one label, got 30 labels for 30"):
        tolerance(X, torch.arange(30))
