"""Grids of rotations are even, and near ones are near."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from equissl.geometry import geodesic_angle, random_rotmat, rotation_grid, rotations_near_identity


def covering(grid: Tensor, count: int = 500) -> Tensor:
    """Angles from random rotations to the nearest of a grid, degrees."""
    drawn = random_rotmat(count, torch.Generator().manual_seed(0), torch.float64)
    return torch.rad2deg(geodesic_angle(drawn[:, None], grid[None])).amin(dim=1)


def test_they_are_rotations() -> None:
    for grid in (rotation_grid(50, torch.float64), rotations_near_identity(0.5, dtype=torch.float64)):
        torch.testing.assert_close(grid @ grid.mT, torch.eye(3).double().expand_as(grid))
        torch.testing.assert_close(torch.linalg.det(grid), torch.ones(len(grid)).double())


@pytest.mark.parametrize("count", [100, 1000])
def test_a_grid_covers_better_than_as_many_draws(count: int) -> None:
    grid = covering(rotation_grid(count, torch.float64))
    drawn = covering(random_rotmat(count, torch.Generator().manual_seed(1), torch.float64))
    assert grid.max() < 0.8 * drawn.max() and grid.mean() < drawn.mean()
    assert grid.max() < 360 / count ** (1 / 3)


def test_means_of_a_grid_are_those_of_the_haar_measure() -> None:
    grid = rotation_grid(2000, torch.float64)
    assert grid.mean(dim=0).abs().max() < 0.01
    squares = grid.square().mean(dim=0)
    torch.testing.assert_close(squares, torch.full_like(squares, 1 / 3), rtol=0, atol=0.01)


def test_near_rotations_are_those_of_scipy() -> None:
    found = rotations_near_identity(0.4, 1, torch.float64)
    line = torch.tensor([-0.4, 0.0, 0.4], dtype=torch.float64)
    expected = Rotation.from_rotvec(torch.cartesian_prod(line, line, line).numpy()).as_matrix()
    torch.testing.assert_close(found, torch.from_numpy(expected))
    assert torch.equal(found[13], torch.eye(3).double())
    assert geodesic_angle(found, torch.eye(3).double()).max().item() == pytest.approx(0.4 * math.sqrt(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotation_grid(0), "at least 1 rotation, got 0"),
        (lambda: rotations_near_identity(0.0), "positive reach and at least 1 step, got 0.0 and 2"),
    ],
)
def test_bad_numbers_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
