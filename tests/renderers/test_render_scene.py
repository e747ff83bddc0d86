"""Scene parameters: checked, stacked, and read from latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.renderers import RendererError, ViewParameters, view_parameters
from equissl.renderers.camera import pixel_grid, project
from equissl.renderers.scene import view_arrays


def test_latents_give_the_documented_rotation_and_keep_every_column() -> None:
    names = ["rotation_x", "rotation_y", "rotation_z", "floor_hue", "light_theta", "light_phi", "light_hue"]
    latents = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 7))
    views = view_parameters(latents, names)
    expected = Rotation.from_euler("xyz", latents[:, :3]).as_matrix()
    np.testing.assert_allclose(np.stack([v.rotation for v in views]), expected, atol=1e-12)
    rest = np.array([[v.floor_hue, v.light_theta, v.light_phi, v.light_hue] for v in views])
    np.testing.assert_array_equal(rest, latents[:, 3:])
    assert all((v.translation == 0).all() for v in views)


def test_translation_latents_are_used() -> None:
    (view,) = view_parameters(np.array([[0.1, 0.2, 0.3]]), ["translation_z", "translation_x", "translation_y"])
    np.testing.assert_array_equal(view.translation, [0.2, 0.3, 0.1])


def test_an_object_is_translated_along_its_own_axes() -> None:
    names = ["rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z"]
    turned, tumbled = view_parameters(
        np.array([[0, 0, np.pi / 2, 0.3, 0, 0.1], [0.3, -0.5, 1.0, 0.1, 0.2, 0.3]]), names
    )
    np.testing.assert_allclose(turned.translation, [0, 0.3, 0.1], atol=1e-15)
    expected = Rotation.from_euler("xyz", [0.3, -0.5, 1.0]).apply([0.1, 0.2, 0.3])
    np.testing.assert_allclose(tumbled.translation, expected, atol=1e-15)


def test_latents_of_another_width_are_refused() -> None:
    with pytest.raises(RendererError, match=r"expected latents of shape \(V, 2\).*\(1, 3\)"):
        view_parameters(np.zeros((1, 3)), ["rotation_x", "rotation_y"])


def test_spot_stands_at_radius_four() -> None:
    theta, phi = 0.5, 1.2
    light = view_arrays([ViewParameters(light_theta=theta, light_phi=phi)]).light_position[0]
    assert np.linalg.norm(light) == pytest.approx(4.0)
    assert math.acos(light[2] / 4) == pytest.approx(theta, abs=1e-5)
    assert math.atan2(light[1], light[0]) == pytest.approx(phi, abs=1e-5)


@pytest.mark.parametrize(("hue", "rgb"), [(0.0, (1, 0, 0)), (1 / 3, (0, 1, 0)), (2 / 3, (0, 0, 1)), (1 / 6, (1, 1, 0))])
def test_hues_are_true_linear_colours(hue: float, rgb: tuple[int, int, int]) -> None:
    arrays = view_arrays([ViewParameters(floor_hue=hue, light_hue=hue)])
    np.testing.assert_allclose(arrays.floor_colour[0], 0.24 + 0.36 * np.array(rgb), atol=1e-6)
    np.testing.assert_allclose(arrays.light_colour[0], 0.8 * np.array(rgb), atol=1e-6)


def test_pixels_see_the_points_that_project_to_them() -> None:
    """Points along the rays project back to the pixel centres, and the floor points lie on the floor."""
    grid = pixel_grid(16, 1)
    points = np.array([0, 2.5 * math.sqrt(0.5), 2.5 * math.sqrt(0.5)]) + 1.7 * np.stack(grid.direction, -1)[0]
    row, column, _ = project(points, 16)
    np.testing.assert_allclose(np.rint(row).reshape(16, 16), np.arange(16)[:, None] * np.ones(16), atol=0)
    np.testing.assert_allclose(column.reshape(16, 16), np.ones((16, 1)) * np.arange(16), atol=1e-4)
    floor = np.stack([grid.floor_x, grid.floor_y, np.full_like(grid.floor_x, -1)], -1)[0]
    np.testing.assert_allclose(project(floor, 16)[0], row, atol=1e-3)


def test_projection_of_named_points() -> None:
    """0.900 is half the width seen at the origin; the camera's right is -x, its up has +z and -y."""
    size = 256
    assert project(np.zeros(3), size)[:2] == (pytest.approx(127.5), pytest.approx(127.5))
    row, column, depth = project(np.array([-0.9, 0.0, 0.0]), size)
    assert (row, column) == (pytest.approx(127.5), pytest.approx(255.5, abs=0.1))
    assert depth == pytest.approx(2.5)
    half = 0.9 * math.sqrt(0.5)
    row, column, _ = project(np.array([0.0, -half, half]), size)
    assert (row, column) == (pytest.approx(-0.5, abs=0.1), pytest.approx(127.5))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (ViewParameters(rotation=np.full((3, 3), np.nan)), "view 1: expected a finite rotation"),
        (ViewParameters(rotation=2 * np.eye(3)), r"view 1: expected a rotation matrix"),
        (ViewParameters(rotation=np.diag([1.0, 1, -1])), r"view 1: expected a rotation matrix"),
        (ViewParameters(rotation=np.eye(2)), r"view 1: expected rotation of shape \(3, 3\), got \(2, 2\)"),
        (ViewParameters(translation=np.array([0, np.inf, 0])), "view 1: expected a finite translation"),
        (ViewParameters(light_theta=float("nan")), "view 1: expected a finite light_theta"),
    ],
)
def test_broken_views_are_named(view: ViewParameters, message: str) -> None:
    with pytest.raises(RendererError, match=message):
        view_arrays([ViewParameters(), view])


def test_no_views_are_refused() -> None:
    with pytest.raises(RendererError, match="at least one view"):
        view_arrays([])
