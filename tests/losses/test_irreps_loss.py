"""Losses on irreps against closed forms and VICReg, and that turning the whole batch changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.geometry import random_rotmat
from equissl.losses import (
    action_cross_entropy,
    copy_covariance_penalty,
    copy_variance_hinge,
    covariance_penalty,
    variance_hinge,
)
from equissl.predictors import GroupRepresentation


def test_action_cross_entropy() -> None:
    torch.testing.assert_close(action_cross_entropy(torch.zeros(7, 7)), torch.tensor(math.log(7)))
    assert action_cross_entropy(100 * torch.eye(5)) < 1e-6
    scores = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1.5))) / 2
    assert action_cross_entropy(scores).item() == pytest.approx(expected, abs=1e-6)
    assert action_cross_entropy(scores.bfloat16()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"scores \(B, B\), got \(3, 4\)"):
        action_cross_entropy(torch.zeros(3, 4))


def test_for_degree_zero_they_are_vicregs() -> None:
    x = 0.7 * torch.randn(30, 6, dtype=torch.float64)
    torch.testing.assert_close(copy_variance_hinge([x.unsqueeze(2)]), variance_hinge(x))
    torch.testing.assert_close(copy_covariance_penalty([x.unsqueeze(2)]), covariance_penalty(x))


def test_turning_the_batch_changes_neither_where_vicregs_would() -> None:
    torch.manual_seed(0)
    predictor = GroupRepresentation("2x0e+3x1e+2x2e")
    x = 0.5 * torch.randn(40, predictor.dim, dtype=torch.float64) * torch.rand(predictor.dim)
    turned = predictor(x, random_rotmat(1, dtype=torch.float64).expand(40, 3, 3))
    for loss in (copy_variance_hinge, copy_covariance_penalty):
        torch.testing.assert_close(loss(predictor.copies(turned)), loss(predictor.copies(x)))
    for loss in (variance_hinge, covariance_penalty):
        assert abs(loss(turned) - loss(x)) > 1e-3 * loss(x)


def test_variance_hinge_of_copies_in_closed_form() -> None:
    directions = torch.nn.functional.normalize(torch.randn(20_000, 1, 3, dtype=torch.float64), dim=2)
    # unit vectors in all directions have variance 1/3 in each component
    assert copy_variance_hinge([directions]).item() == pytest.approx(1 - (1 / 3 + 1e-4) ** 0.5, abs=0.005)
    assert copy_variance_hinge([torch.ones(5, 2, 3), torch.ones(5, 1, 5)]).item() == pytest.approx(0.99)
    assert copy_variance_hinge([10 * directions]) == 0


def test_covariance_inside_a_copy_is_free_and_between_copies_is_not() -> None:
    a = torch.randn(30, 1, dtype=torch.float64)
    inside = torch.stack([a, 2 * a, -a], dim=2)
    assert copy_covariance_penalty([inside]) == 0
    both = torch.cat([inside, inside], dim=1)
    # two blocks of (1 + 4 + 1)² var², over six components
    assert copy_covariance_penalty([both]).item() == pytest.approx(2 * 36 * a.var().item() ** 2 / 6)


def test_precision_and_bad_input() -> None:
    x = torch.randn(9, 4, 3)
    for loss in (copy_variance_hinge, copy_covariance_penalty):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss([x.bfloat16()])
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss([x.bfloat16().float()]))
        with pytest.raises(ValueError, match="at least 2 samples"):
            loss([x[:1]])
        with pytest.raises(ValueError, match="at least 2 samples"):
            loss([])
