"""Points of a mesh's surface: shares by area, places, normals and colours, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.cloud import sample_cloud
from equissl.util.srgb import srgb_encode


def draw(mesh: Mesh, count: int, seed: int = 0) -> Cloud:
    return sample_cloud(mesh, count, np.random.default_rng(seed))


def two_triangles(make_mesh: Callable[..., Mesh]) -> Mesh:
    """Areas 1/2 at z = 0 and 3/2 at z = 1; the first faces up, the second down."""
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [3, 0, 1]]
    return make_mesh(corners, [[0, 1, 2], [3, 4, 5]])


def test_faces_share_the_points_by_area_and_a_triangle_is_filled_uniformly(make_mesh: Callable[..., Mesh]) -> None:
    cloud, count = draw(two_triangles(make_mesh), 20000), 20000
    upper = cloud.points[:, 2] == 1
    assert abs(upper.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / count)
    first = cloud.points[~upper].astype(np.float64)
    assert set(np.unique(cloud.points[:, 2])) == {0, 1} and (first[:, :2] >= 0).all() and first[:, :2].sum(1).max() < 1
    # uniform in a triangle: mean (1/3, 1/3), variance 1/18, covariance -1/36
    moments = first[:, :2].mean(0), np.cov(first[:, :2].T)
    np.testing.assert_allclose(moments[0], 1 / 3, atol=5 * np.sqrt(1 / 18 / len(first)))
    np.testing.assert_allclose(moments[1], [[1 / 18, -1 / 36], [-1 / 36, 1 / 18]], atol=0.003)


def test_normals_are_on_the_side_of_the_winding(make_mesh: Callable[..., Mesh]) -> None:
    cloud = draw(two_triangles(make_mesh), 500)
    expected = np.where(cloud.points[:, 2:] == 1, -1, 1) * [[0, 0, 1]]
    np.testing.assert_allclose(cloud.normals, expected, atol=1e-6)


def test_points_and_interpolated_normals_lie_on_the_sphere(sphere: Callable[..., Mesh]) -> None:
    cloud = draw(sphere(0.5), 2000)
    radius = np.linalg.norm(cloud.points, axis=1)
    assert radius.max() < 0.5 + 1e-6 and radius.min() > 0.5 * np.cos(np.pi / 48) ** 2  # chords of 48 rings
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    assert (cloud.normals * cloud.points).sum(1).min() > 0.5 * 0.999 * np.cos(np.pi / 48)
    assert np.linalg.norm(cloud.points.mean(0)) < 5 * 0.5 / np.sqrt(2000)


def test_colours_are_those_of_material_texture_and_corners(make_mesh: Callable[..., Mesh], quad: Callable) -> None:
    plain = make_mesh(np.eye(3), [[0, 1, 2]], Material(diffuse=np.array([1, 0.2, 0], np.float32)))
    code = np.round(srgb_encode(np.array([1, 0.2, 0])) * 255)
    assert (draw(plain, 50).colours == code).all()
    half = np.full((1, 3, 3), 0.5, np.float32)
    tinted = np.round(srgb_encode(np.array([0.5, 0.1, 0])) * 255)
    assert np.abs(draw(replace(plain, corner_colours=half), 50).colours - tinted).max() <= 1
    # the left half of the image is red, the right half blue; a texel on either side of the middle is mixed
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4, 0] = image[:, 4:, 2] = 255
    cloud = draw(quad([1, 0, 0], [0, 1, 0], Material(texture=image)), 1000)
    left, right = cloud.points[:, 0] < -0.2, cloud.points[:, 0] > 0.2
    inner = np.abs(cloud.points[:, 0]) < 0.8  # textures repeat: the two ends are mixed with each other
    assert (cloud.colours[left & inner] == [255, 0, 0]).all() and (cloud.colours[right & inner] == [0, 0, 255]).all()
    assert (left & inner).sum() > 200 < (right & inner).sum()


def test_seeds_tell_clouds_apart(sphere: Callable[..., Mesh]) -> None:
    mesh = sphere(0.5, 8)
    first, again, other = draw(mesh, 64, 1), draw(mesh, 64, 1), draw(mesh, 64, 2)
    assert np.array_equal(first.points, again.points) and not np.array_equal(first.points, other.points)


def test_what_cannot_be_sampled_is_refused(make_mesh: Callable[..., Mesh]) -> None:
    mesh = two_triangles(make_mesh)
    with pytest.raises(ValueError, match="at least 1 point, got 0"):
        draw(mesh, 0)
    with pytest.raises(RendererError, match="expected faces with an area"):
        draw(make_mesh(np.ones((3, 3)), [[0, 1, 2]]), 5)
    with pytest.raises(RendererError, match="finite vertices"):
        draw(replace(mesh, vertices=np.full_like(mesh.vertices, np.nan)), 5)
    cloud = draw(mesh, 4)
    with pytest.raises(ValueError, match=r"finite points of a cloud, got 4 of 4"):
        replace(cloud, points=cloud.points * np.float32(np.nan))
    with pytest.raises(ValueError, match=r"colours of a cloud as uint8 \(4, 3\), got float32"):
        replace(cloud, colours=cloud.points)
