"""Irradiance terms against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equissl.renderers.camera import pixel_grid
from equissl.renderers.lighting import (
    disk_points,
    perpendicular_basis,
    sky_irradiance,
    spot_irradiance,
    sun_irradiance,
)

INTENSITY = 500 / (4 * math.pi)


def test_sun_is_a_cosine_while_the_whole_cap_is_up() -> None:
    tilt = np.radians([0, 10, 30, 45])
    np.testing.assert_allclose(sun_irradiance(np.cos(tilt)), 1.5 * np.cos(tilt), rtol=1e-5)


def test_sun_on_a_wall_and_on_an_overhang() -> None:
    """A wall sees half the cap: E = L (α - sin α cos α); below -sin 45° nothing is left."""
    radiance = 1.5 / (math.pi * 0.5)
    np.testing.assert_allclose(sun_irradiance(np.array([0.0]))[0], radiance * (math.pi / 4 - 0.5), rtol=1e-4)
    np.testing.assert_allclose(sun_irradiance(np.array([-0.7072, -1.0])), 0, atol=1e-6)


def test_table_agrees_with_the_integral() -> None:
    n_z = np.linspace(-1, 1, 77, dtype=np.float32)
    exact = sun_irradiance(n_z) + 0.05 * math.pi * (1 + n_z) / 2
    np.testing.assert_allclose(sky_irradiance(n_z, 1.5), exact, atol=2e-3)
    assert sky_irradiance(np.float32([1.0]), 1.5)[0] == pytest.approx(1.5 + 0.05 * math.pi, abs=1e-5)


@pytest.mark.parametrize(
    ("degrees", "share"),
    [(0.0, 1.0), (10.3, 1.0), (11.26, 0.0), (40.0, 0.0)],
)
def test_spot_falls_off_with_the_square_and_ends_at_the_cone(degrees: float, share: float) -> None:
    distance = 5.0
    angle = math.radians(degrees)
    offset = tuple(np.float32([c]) for c in (distance * math.sin(angle), 0.0, distance * math.cos(angle)))
    axis = tuple(np.float32([c]) for c in (0.0, 0.0, -1.0))
    got = spot_irradiance(offset, axis, np.float32([distance**2]))[0] * distance
    assert got == pytest.approx(share * INTENSITY / distance**2, rel=2e-4, abs=1e-7)


def test_spot_edge_is_a_smoothstep() -> None:
    cos_edge = math.cos(math.pi / 16)
    for t in (0.25, 0.5, 0.9):
        cosine = cos_edge + t * 0.15 * (1 - cos_edge)
        offset = tuple(np.array([c]) for c in (math.sqrt(1 - cosine**2), 0.0, cosine))
        axis = tuple(np.array([c]) for c in (0.0, 0.0, -1.0))
        got = spot_irradiance(offset, axis, np.array([1.0]))[0]
        assert got == pytest.approx(INTENSITY * t * t * (3 - 2 * t), rel=1e-6)


def test_spot_samples_fill_the_disk_evenly() -> None:
    """Uniform on a disk of radius R: mean 0, second moment R²/4 per axis, all inside."""
    grid = pixel_grid(64, 1)
    points = disk_points(4, grid.turn, grid.stretch)
    x, y = (np.stack([p[i] for p in points]).ravel() for i in (0, 1))
    assert np.hypot(x, y).max() <= 0.25 + 1e-6
    assert abs(x.mean()) < 2e-3 and abs(y.mean()) < 2e-3
    np.testing.assert_allclose([(x * x).mean(), (y * y).mean()], 0.25**2 / 4, rtol=0.03)


def test_perpendicular_basis_is_orthonormal() -> None:
    direction = np.random.default_rng(0).normal(size=(50, 3))
    direction = np.concatenate([direction / np.linalg.norm(direction, axis=1, keepdims=True), np.diag([1, 1, -1.0])])
    frame = np.stack([direction, *perpendicular_basis(direction)], 1)
    np.testing.assert_allclose(frame @ frame.transpose(0, 2, 1), np.tile(np.eye(3), (53, 1, 1)), atol=1e-12)
