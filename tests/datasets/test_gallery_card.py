from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer, FakeSource

from equissl.datasets.build import BuildSpec, build_views
from equissl.datasets.card import data_card, write_card
from equissl.datasets.gallery import choose_objects, write_gallery
from equissl.datasets.store import ViewStore
from equissl.datasets.synthetic import write_synthetic_store


def test_gallery_shows_the_stored_pictures(tmp_path: Path) -> None:
    store = ViewStore(write_synthetic_store(tmp_path / "a.h5", objects=10, views=5, size=32, classes=4))
    sheet = np.asarray(Image.open(write_gallery(store, tmp_path / "a.png", objects=3, views=4)))
    margin = sheet.shape[1] - 4 * 34
    assert sheet.shape == (3 * 34 + 2, margin + 4 * 34, 3) and margin > 40
    rows = choose_objects(store.labels, 3)
    for row, column in ((0, 0), (2, 3)):
        picture = store.read_images(np.array([rows[row] * 5 + column]))[0].permute(1, 2, 0).numpy()
        top, left = 2 + row * 34, margin + column * 34
        assert np.array_equal(sheet[top : top + 32, left : left + 32], picture)
    assert (sheet[:, : margin - 2] < 128).any()  # class names are written


def test_gallery_of_a_small_store_and_another_cell(tmp_path: Path) -> None:
    store = ViewStore(write_synthetic_store(tmp_path / "a.h5", objects=2, views=1, size=8))
    sheet = Image.open(write_gallery(store, tmp_path / "a.png", cell=20))
    assert sheet.height == 2 * 22 + 2


def test_choice_takes_classes_in_turn() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    assert choose_objects(labels, 4).tolist() == [0, 1, 4, 5]
    assert choose_objects(labels, 99).tolist() == list(range(7))


def test_card_says_what_is_in_the_store(tmp_path: Path) -> None:
    spec = BuildSpec(meshes="fake", views=3, size=16, seed=5)
    source = FakeSource(13, broken=(4,))
    build_views(spec, tmp_path / "a.h5", 0, False, source=source, renderer=FakeRenderer(options={"samples": 2}))
    card = write_card(tmp_path / "a.h5", tmp_path / "card.md").read_text()
    store = ViewStore(tmp_path / "a.h5")
    assert card == data_card(store)
    assert "12 objects of 3 classes, 3 views each: 36 RGB images of 16 x 16" in card
    train, val = (int(((store.labels == 0) & (store.split == s)).sum()) for s in (0, 1))
    assert f"| 0 | apple | {train} | {val} |" in card
    assert "| light_phi | rad | 0 to 6.283 (circular) | azimuth of the spot light |" in card
    assert "Renderer: fake, version 1; options: samples = 2" in card and "* seed: 5" in card
    assert "| even | CC0 | 6 |" in card and "maker 12 (1)" in card and "maker 4 (1)" not in card
    assert "| bowl/004 | bowl/004: no faces |" in card


def test_card_of_a_store_without_provenance(tmp_path: Path) -> None:
    card = data_card(ViewStore(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8)))
    assert "not recorded" in card and card.rstrip().endswith("None.")
