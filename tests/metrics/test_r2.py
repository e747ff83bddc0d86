"""Both R² against scikit-learn and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import r2_score

from equissl.geometry import euler_to_unitquat, relative_unitquat
from equissl.metrics import constant_rotation_prediction, r2_global, r2_uniform


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(50, 4, generator=generator) * torch.tensor([1.0, 2, 0.1, 5]) + torch.tensor([0.0, 3, -1, 9])
    return target + 0.3 * torch.randn(50, 4, generator=generator), target


def test_uniform_is_scikit_learns_default() -> None:
    preds, target = example()
    assert r2_uniform(preds, target) == pytest.approx(r2_score(target.double(), preds.double()), rel=1e-12)


def test_global_is_one_flat_r2() -> None:
    preds, target = example()
    expected = r2_score(target.double().flatten(), preds.double().flatten())
    assert r2_global(preds, target) == pytest.approx(expected, rel=1e-12)
    assert r2_global(preds, target) != pytest.approx(r2_uniform(preds, target), abs=0.1)


def test_golden_constant_predictor() -> None:
    target = torch.tensor([[1.0, 10], [3, 14]])
    preds = target.mean(0).expand(2, 2)
    assert r2_global(preds, target) == pytest.approx(1 - 10 / 110, rel=1e-12)
    assert r2_uniform(preds, target) == 0


def test_constant_predictor_on_the_euler_box_has_its_closed_form() -> None:
    """Global R² of the mean relative quaternion: 1 - 4 (1/4 - c¹²/4) / (1 - c¹²/4) with c = sin(pi/4) / (pi/4)."""
    euler = (torch.rand(100_000, 2, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * math.pi
    target = relative_unitquat(*euler_to_unitquat(euler).unbind(1), sign="legacy")
    preds = constant_rotation_prediction(target)
    c12 = (math.sin(math.pi / 4) / (math.pi / 4)) ** 12
    closed_form = 1 - (1 - c12) / (1 - c12 / 4)
    assert closed_form == pytest.approx(0.228951, abs=1e-6)
    assert r2_global(preds, target) == pytest.approx(closed_form, abs=4e-3)
    assert r2_uniform(preds, target) == pytest.approx(0, abs=1e-9)


def test_perfect_and_single_column() -> None:
    _, target = example()
    assert r2_global(target, target) == r2_uniform(target, target) == 1
    assert r2_global(target[:, 0] + 1, target[:, 0]) == pytest.approx(r2_uniform(target[:, :1] + 1, target[:, :1]))


def test_constant_targets_follow_scikit_learn() -> None:
    preds, target = example()
    target, preds = target.clone(), preds.clone()
    target[:, 1] = 2.0
    assert r2_uniform(preds, target) == pytest.approx(r2_score(target.double(), preds.double()), rel=1e-12)
    preds[:, 1] = 2.0
    assert r2_uniform(preds, target) == pytest.approx(r2_score(target.double(), preds.double()), rel=1e-12)
    flat = torch.full((5, 2), 0.1)
    assert (r2_global(flat, flat), r2_global(flat + 1, flat), r2_uniform(flat + 1, flat)) == (1, 0, 0)


def test_two_passes_survive_a_large_offset() -> None:
    """Single-pass float32 sums give values above 1 here."""
    preds, target = example()
    preds, target = preds.double(), target.double()
    assert r2_uniform(preds + 1e6, target + 1e6) == pytest.approx(r2_uniform(preds, target), abs=1e-6)
    assert r2_uniform(preds * 1e-6, target * 1e-6) == pytest.approx(r2_uniform(preds, target), abs=1e-9)


@pytest.mark.parametrize("metric", [r2_global, r2_uniform])
def test_errors(metric) -> None:
    with pytest.raises(ValueError, match=r"got \(5, 4\) and \(5, 3\)"):
        metric(torch.zeros(5, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        metric(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="finite preds, got 4 NaN or infinite"):
        metric(torch.full((2, 2), float("nan")), torch.eye(2))


def test_gradients_are_not_tracked() -> None:
    preds, target = example()
    assert isinstance(r2_global(preds.requires_grad_(), target), float)
