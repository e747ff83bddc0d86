"""Rigid transforms against golden values, linear algebra and the group laws."""

from __future__ import annotations

import math

import pytest
import torch

from equissl import geometry as geo

EULER = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]], dtype=torch.float64)
TRANSLATION = torch.tensor([[0.1, -0.2, 0.3], [-0.3, 0.4, 0.25]], dtype=torch.float64)


def random_rigid(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotmat = geo.random_rotmat(n, generator, torch.float64)
    return geo.rigid(rotmat, torch.randn(n, 3, generator=generator, dtype=torch.float64))


def close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_named_transform_rotates_first() -> None:
    """A quarter turn about z, then one metre along x: x goes to y, then to (1, 1, 0)."""
    rotmat = geo.euler_to_rotmat(torch.tensor([0, 0, math.pi / 2]))
    moved = geo.transform_points(geo.rigid(rotmat, torch.tensor([1.0, 0, 0])), torch.tensor([[1.0, 0, 0]]))
    close(moved, torch.tensor([[1.0, 1, 0]]), atol=1e-6)


def test_golden_relative_translation_in_both_frames() -> None:
    rotmat = geo.euler_to_rotmat(EULER)
    object_frame = geo.relative_rigid(*geo.rigid(rotmat, TRANSLATION))
    close(object_frame[:3, 3], torch.tensor([-0.19080619, 0.67900122, -0.15827299]).double(), atol=1e-7)
    world = (rotmat @ TRANSLATION[..., None]).squeeze(-1)  # translated in the object's own axes, then rotated
    base_frame = geo.relative_rigid(*geo.rigid(rotmat, world))
    close(base_frame[:3, 3], torch.tensor([-0.63778016, 0.32115150, -0.20718398]).double(), atol=1e-7)
    close(world[1] - world[0], torch.tensor([-0.73073553, 0.13009432, -0.04390976]).double(), atol=1e-7)
    close(base_frame[:3, :3], geo.relative_rotation(*rotmat))


def test_group_laws() -> None:
    a, b = random_rigid(20, 0), random_rigid(20, 1)
    identity = torch.eye(4, dtype=torch.float64).expand(20, 4, 4)
    close(geo.rigid_inverse(a) @ a, identity)
    close(geo.rigid_inverse(a), torch.linalg.inv(a))
    close(a @ geo.relative_rigid(a, b), b)
    close(geo.relative_rigid(a, a), identity)


def test_small_motion_far_away_keeps_its_digits() -> None:
    """A 1 cm step 10 km from the origin, in float32: the naive -Rᵀt₁ + Rᵀt₂ is off by about a millimetre."""
    rotmat = geo.euler_to_rotmat(torch.tensor([0.3, -0.2, 0.7]))
    first = geo.rigid(rotmat, torch.tensor([8192.0, 4096.0, 0.0]))
    second = geo.rigid(rotmat, torch.tensor([8192.0 + 2**-6, 4096.0, 0.0]))
    step = rotmat.T @ torch.tensor([2**-6, 0, 0])
    close(geo.relative_rigid(first, second)[:3, 3], step, atol=1e-8)


def test_transform_points_is_the_homogeneous_product_and_broadcasts() -> None:
    matrix = random_rigid(3, 2)
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = torch.einsum("bij,nj->bni", matrix, torch.cat((points, torch.ones(7, 1)), dim=1))[..., :3]
    close(geo.transform_points(matrix, points), expected)
    close(geo.transform_points(matrix, points.expand(3, 7, 3)), expected)
    assert geo.transform_points(matrix, points[:0]).shape == (3, 0, 3)


def test_gradients() -> None:
    matrix = random_rigid(2, 4).requires_grad_()
    points = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5), requires_grad=True)
    assert torch.autograd.gradcheck(geo.transform_points, (matrix, points))
    assert torch.autograd.gradcheck(geo.relative_rigid, (matrix, random_rigid(2, 6).requires_grad_()))


def test_shapes_and_dtypes() -> None:
    assert geo.rigid(torch.eye(3), torch.zeros(5, 3)).shape == (5, 4, 4)
    assert geo.rigid(torch.eye(3), torch.zeros(3)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"matrix of shape \(\.\.\., 4, 4\), got \(3, 3\)"):
        geo.rigid_inverse(torch.eye(3))
    with pytest.raises(ValueError, match=r"points of shape \(\.\.\., N, 3\), got \(3,\)"):
        geo.transform_points(torch.eye(4), torch.zeros(3))
