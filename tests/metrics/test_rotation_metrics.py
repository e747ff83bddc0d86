"""Rotation errors against SciPy and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.metrics import constant_quaternion, constant_rotation_prediction, rotation_errors_deg


def quats(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_matches_scipy_for_raw_outputs_of_any_norm_and_sign() -> None:
    preds, target = quats(100, 0), quats(100, 1)
    relative = Rotation.from_quat(preds.numpy()).inv() * Rotation.from_quat(target.numpy())
    expected = torch.from_numpy(relative.magnitude()).rad2deg()
    for scale in (1.0, -1.0, 1e-4, -50.0):
        torch.testing.assert_close(rotation_errors_deg(scale * preds, target), expected, rtol=0, atol=1e-9)


def test_named_errors() -> None:
    target = torch.tensor([[0.0, 0, 0, 1]]).expand(4, 4)
    half = math.radians(0.5)
    preds = torch.tensor([[0, 0, 0, -2.0], [0, 0, 1, 1], [5, 0, 0, 0], [0, math.sin(half), 0, math.cos(half)]])
    expected = torch.tensor([0, 90, 180, 1], dtype=torch.float64)
    torch.testing.assert_close(rotation_errors_deg(preds, target), expected, rtol=0, atol=1e-5)


def test_constant_is_the_best_one_under_squared_error() -> None:
    target = quats(30, 2)
    best = constant_quaternion(target)
    cost = (target - best).square().sum()
    assert all((target - best - 0.01 * step).square().sum() > cost for step in torch.eye(4, dtype=torch.float64))
    assert torch.equal(constant_rotation_prediction(target), best.expand(30, 4))
    assert torch.equal(constant_rotation_prediction(target[:7], source=target), best.expand(7, 4))


def test_errors_name_what_is_wrong() -> None:
    good = quats(3, 3)
    with pytest.raises(ValueError, match=r"preds of shape \(N, 4\) with N >= 1, got \(3, 3\)"):
        rotation_errors_deg(good[:, :3], good)
    with pytest.raises(ValueError, match="equal length, got 2 and 3"):
        rotation_errors_deg(good[:2], good)
    bad = good.clone()
    bad[0], bad[2, 1] = 0, float("inf")
    with pytest.raises(ValueError, match="target to be finite and not zero, got 2 bad rows of 3"):
        rotation_errors_deg(good, bad)
