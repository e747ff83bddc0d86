"""Equivariance errors against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.metrics.equivariance import (
    RelativeDistance,
    carry_features,
    shift_error,
)


def rows(n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_distance(preds: torch.Tensor, target: torch.Tensor, groups: torch.Tensor | None = None) -> float:
    """Of all rows, or scene after scene."""
    distance = RelativeDistance()
    for scene in [slice(None)] if groups is None else [groups == group for group in groups.unique()]:
        distance.update(preds[scene], target[scene])
    return distance.compute()


def test_the_denominator_is_the_mean_over_all_unrelated_pairs_of_each_scene() -> None:
    p, t, groups = rows(9), rows(9, seed=1), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    own, others = 0.0, 0.0
    for scene in (0, 1):
        mine = [i for i in range(9) if groups[i] == scene]
        own += sum(float((p[i] - t[i]).square().sum()) for i in mine)
        distances = [float((p[i] - t[j]).square().sum()) for i in mine for j in mine if i != j]
        others += len(mine) * sum(distances) / len(distances)
    assert relative_distance(p, t, groups) == pytest.approx(own / others, rel=1e-12)


def test_equal_features_have_no_error_and_independent_ones_an_error_of_one() -> None:
    x = rows(4000, 16)
    assert relative_distance(x, x) == 0
    assert relative_distance(x, rows(4000, 16, seed=1)) == pytest.approx(1, abs=0.02)
    # noise of variance v on features of variance 1: v / (2 + v)
    assert relative_distance(x + 0.5 * rows(4000, 16, seed=2), x) == pytest.approx(0.25 / 2.25, abs=0.005)


def test_scale_constant_and_basis_of_the_features_do_not_matter() -> None:
    p, t = rows(50), rows(50, seed=1)
    basis, _ = torch.linalg.qr(rows(5, seed=2))
    moved = relative_distance(1e-3 * p @ basis + 7, 1e-3 * t @ basis + 7)
    assert moved == pytest.approx(relative_distance(p, t), rel=1e-6)


def test_a_collapsed_encoder_is_not_called_equivariant() -> None:
    assert math.isnan(relative_distance(torch.full((20, 3), 0.7), torch.full((20, 3), 0.7)))
    assert math.isnan(relative_distance(rows(1), rows(1)))
    assert math.isnan(relative_distance(rows(0), rows(0)))


def test_wrong_shapes_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of one shape, got \(4, 5\) and \(3, 5\)"):
        relative_distance(rows(4), rows(3))
    with pytest.raises(ValueError, match="finite"):
        relative_distance(rows(4), rows(4) * math.nan)


def test_carried_features_are_means_over_points() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]])
    source, target = torch.tensor([0, 1, 1, 2, -1, 0]), torch.tensor([4, 4, 4, 2, 2, -1])
    cells, carried = carry_features(features, source, target)
    assert cells.tolist() == [2, 4]
    torch.testing.assert_close(carried, torch.tensor([[9.0, 9.0], [7 / 3, 4 / 3]], dtype=torch.float64))


def test_shift_error_is_exact_and_knows_other_sites() -> None:
    sites = torch.tensor([[0, 3, 4], [0, 1, 2], [1, 1, 2]])
    features, shift = rows(3).float(), torch.tensor([0, 1, 1])
    shuffled = torch.tensor([2, 0, 1])
    assert shift_error(features, features[shuffled], sites, (sites + shift)[shuffled], shift) == 0
    assert shift_error(features, features + 0.25, sites, sites + shift, shift) == pytest.approx(0.25, abs=1e-6)
    assert math.isinf(shift_error(features, features, sites, sites, shift))
    assert math.isinf(shift_error(features, features[:2], sites, sites[:2] + shift, shift))


def test_chosen_rows_are_compared_with_the_whole_scene() -> None:
    p, t = rows(40), rows(40, seed=1)
    chosen = torch.arange(40) < 4
    some, all_rows = RelativeDistance(), RelativeDistance()
    some.update(p, t, chosen)
    all_rows.update(p, t)
    own = sum(float((p[i] - t[i]).square().sum()) for i in range(4))
    others = sum(float((p[i] - t[j]).square().sum()) for i in range(4) for j in range(40) if j != i) / 39
    assert some.compute() == pytest.approx(own / others, rel=1e-12)
    assert some.compute() != pytest.approx(all_rows.compute(), rel=1e-3)
