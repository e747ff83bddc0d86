"""Sampling, specular lobe and filter, each against what it must do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equissl.renderers import specular
from equissl.renderers.filtering import binomial_levels, double, lighting_points, smooth
from equissl.renderers.sampling import cosine_directions, frame, from_frame, sequence, tile_rank
from equissl.renderers.surface import Surface
from equissl.renderers.traced_mesh import Hits


def test_cosine_directions_integrate_polynomials() -> None:
    """∫ cos θ / π · z^k dω = 2/(k+2); no direction is preferred."""
    x, y, z = cosine_directions(4096).astype(float)
    np.testing.assert_allclose([(z**k).mean() for k in (1, 2, 3)], [2 / 3, 1 / 2, 2 / 5], rtol=2e-3)
    np.testing.assert_allclose([x.mean(), y.mean(), (x * y).mean()], 0, atol=2e-3)


def test_any_run_of_the_sequence_is_evenly_spread() -> None:
    points = sequence(1024, 2)
    for start in (0, 100, 777):
        counts = np.histogramdd(points[:, start : start + 64].T, 4, [(0, 1)] * 2)[0]
        assert counts.min() >= 2 and counts.max() <= 6  # 4 expected; independent points leave cells empty


def test_neighbouring_pixels_use_different_parts() -> None:
    row, column = np.divmod(np.arange(64), 8)
    ranks = tile_rank(row, column).reshape(8, 8)
    assert sorted(ranks[2:6, 3:7].ravel()) == list(range(16))


def test_a_frame_keeps_length_and_axis() -> None:
    normal = np.random.default_rng(0).normal(size=(3, 50))
    normal /= np.linalg.norm(normal, axis=0)
    local = cosine_directions(50).astype(float)
    world = np.stack(from_frame(local, frame(normal), normal))
    np.testing.assert_allclose(np.linalg.norm(world, axis=0), 1, atol=1e-6)
    np.testing.assert_allclose((world * normal).sum(0), local[2], atol=1e-6)


def _grid(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions over the hemisphere and their solid angle."""
    cosine = (np.arange(count) + 0.5) / count
    angle = (np.arange(2 * count) + 0.5) / count * math.pi
    c, a = (g.ravel() for g in np.meshgrid(cosine, angle))
    ring = np.sqrt(1 - c * c)
    return np.stack([ring * np.cos(a), ring * np.sin(a), c]), np.full(c.size, math.pi / count**2)


@pytest.mark.parametrize("roughness", [0.4, 0.67, 0.9])
@pytest.mark.parametrize("cosine", [0.3, 0.8, 1.0])
def test_sampled_lobe_has_the_energy_of_the_integrated_one(roughness: float, cosine: float) -> None:
    f0, alpha = 0.04, roughness**2
    viewer = np.array([math.sqrt(1 - cosine**2), 0, cosine])[:, None]
    light, weight = _grid(400)
    value = specular.lobe(np.array([0, 0, 1.0])[:, None], viewer, light, np.array(f0), np.array(alpha))
    integrated = float((value * light[2] * weight).sum())
    count = 1 << 14
    many = np.repeat(viewer, count, 1)
    _, sampled = specular.sample_lobe(sequence(count, 2), many, np.full(count, f0), np.full(count, alpha))
    assert sampled.mean() == pytest.approx(integrated, rel=0.02)
    assert specular.albedo(np.array(f0), np.array(roughness), np.array(cosine)) == pytest.approx(integrated, abs=0.02)


def test_a_smooth_surface_mirrors_and_reflects_by_schlick() -> None:
    viewer = np.array([[0.6], [0.0], [0.8]])
    light, weight = specular.sample_lobe(np.array([[0.3], [0.4]]), viewer, np.array([0.04]), np.array([1e-3]))
    np.testing.assert_allclose(light[:, 0], [-0.6, 0, 0.8], atol=5e-3)
    assert weight[0] == pytest.approx(0.04 + 0.96 * 0.2**5, rel=0.01)


def test_no_specular_means_no_reflection() -> None:
    assert specular.albedo(np.zeros(3), np.full(3, 0.5), np.array([0.01, 0.5, 1.0])).max() == 0


def _plane(size: int, normal=(0.0, 0.0, 1.0), height=None) -> Surface:
    pixel = np.arange(size * size)
    row, column = np.divmod(pixel, size)
    z = np.zeros(pixel.size) if height is None else height(row, column)
    point = np.stack([column * 1e-3, row * 1e-3, z]).astype(np.float32)
    normals = np.repeat(np.array(normal, np.float32)[:, None], pixel.size, 1)
    none = np.zeros(pixel.size, np.int64)
    hits = Hits(none, none, none, none, none)
    return Surface(point, normals, normals, normals, hits, none, pixel, none, none, np.ones(pixel.size, np.float32))


def test_the_filter_leaves_constants_alone_and_calms_noise() -> None:
    surface = _plane(24)
    np.testing.assert_allclose(smooth(np.full((2, 576), 3.5, np.float32), surface, 24, 3), 3.5, rtol=1e-6)
    noise = np.random.default_rng(0).normal(size=(1, 576)).astype(np.float32)
    assert smooth(noise, surface, 24, 2).std() < 0.3 * noise.std()
    np.testing.assert_array_equal(smooth(noise, surface, 24, 0), noise)


def test_the_filter_stops_at_a_step() -> None:
    surface = _plane(16, height=lambda row, column: 0.2 * (column >= 8))
    values = np.where(surface.point[2] > 0, 5.0, 1.0).astype(np.float32)[None]
    np.testing.assert_allclose(smooth(values, surface, 16, 2), values, rtol=0.02)


def test_pixels_share_light_unless_they_hold_an_edge() -> None:
    one, two = _plane(4), _plane(4, height=lambda row, column: 0.1 * (column == 2))
    joined = Surface(*(
        Hits.join([a, b]) if isinstance(a, Hits) else np.concatenate([a, b], -1)
        for a, b in ((getattr(one, n), getattr(two, n)) for n in Surface.__dataclass_fields__)
    ))  # fmt: skip
    points, source = lighting_points(joined)
    assert points[:16].tolist() == list(range(16)) and len(points) == 20
    assert source[:16].tolist() == list(range(16))
    stepped = np.arange(16) % 4 == 2
    np.testing.assert_array_equal(source[16:][~stepped], np.arange(16)[~stepped])
    assert (points[source[16:][stepped]] == 16 + np.flatnonzero(stepped)).all()


def test_binomial_levels_keep_constants_and_mean() -> None:
    images = np.zeros((1, 33, 33), np.float32)
    images[0, 16, 16] = 1
    spread = binomial_levels(images, 2)
    assert spread.sum() == pytest.approx(1) and spread.max() < 0.1
    np.testing.assert_allclose(binomial_levels(np.full((2, 9, 9), 2.5), 3), 2.5)


@pytest.mark.parametrize("size", [8, 9])
def test_doubling_is_linear(size: int) -> None:
    row, column = np.indices((size, size)).astype(float)
    full = 2 * row - column
    doubled = double(full[None, ::2, ::2], size)[0]
    inside = slice(0, size - 1 + size % 2)
    np.testing.assert_allclose(doubled[inside, inside], full[inside, inside])
