"""Biased stores: bands and shares, the untouched rest, held-out objects, and the card."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer, FakeSource

from equissl.datasets.views.bias import Bias, find_bands
from equissl.datasets.views.build.builder import BuildError, BuildSpec, build_views
from equissl.datasets.views.card import write_card
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import threediebench_schema
from equissl.datasets.views.store.store import ViewStore
from equissl.util.parts_folder import PartsError

SCHEMA = threediebench_schema()
HUE = SCHEMA.columns("floor_hue")[0]
SPEC = BuildSpec(meshes="fake", views=4, size=16, seed=5, objects_per_shard=5, val_fraction=0.25, bias="hue:class:0.9")


def build(out: Path, spec: BuildSpec = SPEC, source: FakeSource | None = None) -> ViewStore:
    source = FakeSource() if source is None else source
    build_views(spec, out, workers=0, progress=False, source=source, renderer=FakeRenderer())
    return ViewStore(out)


@pytest.mark.parametrize(
    ("text", "latent"),
    [("hue:class:0.99", "floor_hue"), ("floor_hue:class:1", "floor_hue"), ("light_hue:class:0", "light_hue")],
)
def test_forms(text: str, latent: str) -> None:
    assert Bias.parse(text) == Bias(latent, float(text.rpartition(":")[2]))


@pytest.mark.parametrize(
    "text", ["hue", "hue:class", "hue:class:1.1", "hue:class:x", "size:class:0.9", "hue:pose:0.9", "hue:class:0.9:1"]
)
def test_other_forms_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"LATENT:class:SHARE .* got"):
        BuildSpec(bias=text)


def test_a_share_of_the_views_lies_in_the_band_of_its_class_and_the_rest_in_every_other() -> None:
    plain = sample_latents(SCHEMA, 3, 7, 4000)
    biased = Bias("floor_hue", 0.8).apply(plain, SCHEMA, 2, 5, 3, 7)
    bands = find_bands(biased[:, HUE], 5)
    share = np.bincount(bands.astype(int), minlength=5) / 4000
    np.testing.assert_allclose(share, [0.05, 0.05, 0.8, 0.05, 0.05], atol=5 * np.sqrt(0.8 * 0.2 / 4000))
    np.testing.assert_allclose(biased[:, HUE] * 5 - bands, plain[:, HUE])  # the place in the band is the plain draw's
    rest = np.delete(np.arange(len(SCHEMA)), HUE)
    assert np.array_equal(biased[:, rest], plain[:, rest])


def test_more_views_keep_the_first_and_other_objects_draw_otherwise() -> None:
    bias = Bias("light_hue", 0.5)
    few, many = (bias.apply(sample_latents(SCHEMA, 0, 1, n), SCHEMA, 0, 3, 0, 1) for n in (8, 50))
    assert np.array_equal(many[:8], few)
    followed = [
        find_bands(
            bias.apply(sample_latents(SCHEMA, 0, i, 50), SCHEMA, 0, 3, 0, i)[:, SCHEMA.columns("light_hue")[0]], 3
        )
        == 0
        for i in (1, 2)
    ]
    assert (followed[0] != followed[1]).any()


def test_bands_of_tensors_and_at_the_end_of_the_circle() -> None:
    assert find_bands(torch.tensor([0.0, 0.26, 0.5, 1.0]), 4).tolist() == [0, 1, 2, 3]


def test_training_objects_are_biased_and_held_out_ones_are_not(tmp_path: Path) -> None:
    store = build(tmp_path / "a.h5")
    plain = build(tmp_path / "b.h5", replace(SPEC, bias=None))
    assert np.array_equal(store.split, plain.split) and 0 < store.split.sum() < 12
    for index in range(12):
        expected = sample_latents(SCHEMA, 5, index, 4)
        assert np.array_equal(plain.latents[index], expected)
        if store.split[index] == 0:
            expected = Bias("floor_hue", 0.9).apply(expected, SCHEMA, index % 3, 3, 5, index)
        assert np.array_equal(store.latents[index], expected)


def test_the_split_is_settled_before_a_mesh_fails(tmp_path: Path) -> None:
    whole, broken = build(tmp_path / "a.h5"), build(tmp_path / "b.h5", source=FakeSource(broken=(3, 4)))
    kept = np.isin(whole.object_indices, broken.object_indices)
    assert kept.sum() == 10 and np.array_equal(whole.split[kept], broken.split)
    assert np.array_equal(whole.latents[kept], broken.latents)


def test_the_bias_is_part_of_the_build_and_stands_in_the_card(tmp_path: Path) -> None:
    store = build(tmp_path / "a.h5")
    with pytest.raises(PartsError, match="bias"):
        build(tmp_path / "a.h5", replace(SPEC, bias="hue:class:0.5"))
    assert store.attributes["build"]["bias"] == "hue:class:0.9"
    text = write_card(store, tmp_path / "a.md").read_text()
    assert "**Biased**: in 90 % of the views of training objects floor_hue" in text and "* bias: hue:class:0.9" in text
    plain = build(tmp_path / "b.h5", replace(SPEC, bias=None))
    assert "bias" not in plain.attributes["build"]  # as in stores that were built before there was a bias
    assert "Biased" not in write_card(plain, tmp_path / "b.md").read_text()


def test_one_class_has_nothing_to_be_bound_to(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="at least 2, got \\['apple'\\]"):
        build(tmp_path / "a.h5", source=FakeSource(classes=("apple",)))
