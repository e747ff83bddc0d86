from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import LatentSchema, threediebench_schema, threediebench_t_schema

SCHEMA = threediebench_schema()


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return np.concatenate([sample_latents(SCHEMA, 7, i, 20) for i in range(300)])


def test_columns_and_ranges_are_those_of_the_published_files() -> None:
    expected = {
        "rotation_x": (-math.pi / 2, math.pi / 2),
        "rotation_y": (-math.pi / 2, math.pi / 2),
        "rotation_z": (-math.pi / 2, math.pi / 2),
        "floor_hue": (0, 1),
        "light_theta": (0, math.pi / 4),
        "light_phi": (0, 2 * math.pi),
        "light_hue": (0, 1),
    }
    assert {latent.name: (latent.low, latent.high) for latent in SCHEMA.latents} == expected
    assert [latent.name for latent in SCHEMA.latents if latent.circular] == ["floor_hue", "light_phi", "light_hue"]
    assert threediebench_t_schema().names == (*expected, "translation_x", "translation_y", "translation_z")


@pytest.mark.parametrize("column", range(7))
def test_each_latent_is_uniform_in_its_range(many: np.ndarray, column: int) -> None:
    latent, values = SCHEMA.latents[column], many[:, column]
    assert latent.low <= values.min() and values.max() <= latent.high
    assert stats.kstest(values, "uniform", args=(latent.low, latent.high - latent.low)).pvalue > 1e-3


def test_latents_and_neighbouring_views_are_uncorrelated(many: np.ndarray) -> None:
    both = np.concatenate([many[:-1], many[1:]], axis=1)
    correlation = np.corrcoef(both.T) - np.eye(14)
    assert np.abs(correlation).max() < 5 / math.sqrt(len(both))


def test_a_view_does_not_depend_on_order_or_on_how_many_there_are() -> None:
    whole = sample_latents(SCHEMA, 3, 11, 50)
    assert np.array_equal(sample_latents(SCHEMA, 3, 11, 4), whole[:4])
    sample_latents(SCHEMA, 3, 12, 5)
    np.random.random(3)
    assert np.array_equal(sample_latents(SCHEMA, 3, 11, 50), whole)


def test_seed_and_object_change_the_latents_and_all_views_differ() -> None:
    rows = np.concatenate([sample_latents(SCHEMA, seed, index, 5) for seed in range(3) for index in range(3)])
    assert len(np.unique(rows, axis=0)) == 45


def test_values_never_change_between_versions() -> None:
    generator = np.random.default_rng(np.random.SeedSequence([1, 2, 0]))
    unit = generator.random(7)
    expected = [-math.pi / 2 + math.pi * unit[0], unit[3], math.pi / 4 * unit[4]]
    assert sample_latents(SCHEMA, 1, 2, 1)[0, [0, 3, 4]] == pytest.approx(expected, abs=1e-15)


def test_rotation_range_bounds_each_axis() -> None:
    latents = sample_latents(threediebench_schema((0.0, 0.1, math.pi)), 0, 0, 200)
    assert np.all(latents[:, 0] == 0)
    assert 0.08 < np.abs(latents[:, 1]).max() <= 0.1
    assert 3.0 < np.abs(latents[:, 2]).max() <= math.pi


def test_a_gap_leaves_the_middle_of_a_range_out_and_the_rest_uniform() -> None:
    schema = threediebench_schema((math.pi,) * 3, (math.pi / 2, 0.0, math.pi / 2))
    angles = sample_latents(schema, 0, 0, 4000)[:, :3]
    for column, gap in ((0, math.pi / 2), (1, 0.0), (2, math.pi / 2)):
        size = np.abs(angles[:, column])
        assert size.min() >= gap and size.max() <= math.pi
        assert stats.kstest(size, stats.uniform(gap, math.pi - gap).cdf).pvalue > 0.01
        assert abs((angles[:, column] > 0).mean() - 0.5) < 0.03
    assert LatentSchema.from_json(schema.to_json()) == schema
    assert [row["name"] for row in schema.to_json() if "gap" in row] == ["rotation_x", "rotation_z"]
    with pytest.raises(ValueError, match="gap of rotation_y to be 0, or less than 1, got 1"):
        threediebench_schema((1.0, 1.0, 1.0), (0.0, 1.0, 0.0))


def test_schema_round_trip_and_missing_column() -> None:
    assert LatentSchema.from_json(SCHEMA.to_json()) == SCHEMA
    assert SCHEMA.columns("light_hue", "floor_hue") == [6, 3]
    with pytest.raises(KeyError, match="translation_x"):
        SCHEMA.columns("translation_x")
