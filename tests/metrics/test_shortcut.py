"""Shortcut share against closed forms and a search for the best constant."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.geometry import euler_to_unitquat, relative_rotation, relative_unitquat, unitquat_to_rotmat
from equissl.metrics import shortcut_share


def turns(number: int = 401) -> torch.Tensor:
    """Relative turns of all pairs on a grid of turns by up to 90 degrees: exactly the triangular distribution."""
    grid = (torch.arange(number, dtype=torch.float64) + 0.5) / number * math.pi - math.pi / 2
    return (grid[None] - grid[:, None]).flatten()


def test_turns_about_one_axis_in_closed_form() -> None:
    angle = turns()
    cos, sin, one = angle.cos(), angle.sin(), torch.ones_like(angle)
    # E cos = (2/π)², E cos² = 1/2, and sine is uncorrelated with both
    expected = 1 - (2 / math.pi) ** 4 / 0.5
    assert shortcut_share(torch.stack([cos, sin], dim=1)) == pytest.approx(expected, abs=1e-5)
    # w = cos(θ/2): E w = (sin(π/4)/(π/4))², E w² = (1 + E cos)/2
    half = angle / 2
    quaternion = torch.stack([0 * one, 0 * one, half.sin(), half.cos()], dim=1)
    expected = 1 - (math.sin(math.pi / 4) / (math.pi / 4)) ** 4 / ((1 + (2 / math.pi) ** 2) / 2)
    assert shortcut_share(quaternion) == pytest.approx(expected, abs=1e-5)
    assert shortcut_share(torch.stack([cos, -sin, sin, cos, one], dim=1)) == pytest.approx(0, abs=1e-9)


def test_rotations_about_three_axes() -> None:
    torch.manual_seed(0)
    euler = (torch.rand(40_000, 2, 3, dtype=torch.float64) - 0.5) * math.pi
    quats = euler_to_unitquat(euler)
    first, second = quats.unbind(1)
    assert shortcut_share(relative_unitquat(first, second)) == pytest.approx(0.191, abs=0.005)
    matrices = relative_rotation(unitquat_to_rotmat(first), unitquat_to_rotmat(second))
    assert shortcut_share(matrices.flatten(1)) == pytest.approx(0.842, abs=0.005)


def test_is_the_least_error_of_a_constant_combination() -> None:
    torch.manual_seed(0)
    z = torch.randn(300, 5, dtype=torch.float64) + torch.tensor([1.0, 0.2, 0, 0, 0])
    best = torch.linalg.lstsq(z, torch.ones(300, 1, dtype=torch.float64)).solution
    assert shortcut_share(z) == pytest.approx(float((z @ best - 1).square().mean()), abs=1e-12)
    turned = z @ torch.randn(5, 5, dtype=torch.float64)
    assert shortcut_share(turned) == pytest.approx(shortcut_share(z), abs=1e-9)
    assert shortcut_share(z - z.mean(0)) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(0, 3), (3,)])
def test_needs_actions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected actions of shape"):
        shortcut_share(torch.zeros(shape))
