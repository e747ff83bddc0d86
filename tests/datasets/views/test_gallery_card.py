from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer, FakeSource
from synthetic_store import write_synthetic_store

from equissl.datasets.meshes import Material, Mesh
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.card import data_card, write_card
from equissl.datasets.views.gallery import choose_objects, write_gallery
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.pose_axes import AXIS_LENGTH, draw_axes, project_axes
from equissl.datasets.views.schema import threediebench_t_schema
from equissl.datasets.views.store.store import ViewStore
from equissl.renderers import get_renderer
from equissl.renderers.scene import view_parameters


def test_gallery_shows_the_stored_pictures(tmp_path: Path) -> None:
    store = ViewStore(write_synthetic_store(tmp_path / "a.h5", objects=10, views=5, size=32, classes=4))
    sheet = np.asarray(Image.open(write_gallery(store, tmp_path / "a.png", objects=3, views=4, axes=0)))
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


def fake_build(tmp_path: Path) -> Path:
    spec = BuildSpec(meshes="fake", views=3, size=16, seed=5, rotation_gap=(0.0, 0.5, 0.0))
    source = FakeSource(13, broken=(4,))
    build_views(spec, tmp_path / "a.h5", 0, False, source=source, renderer=FakeRenderer(options={"samples": 2}))
    return tmp_path / "a.h5"


def test_card_says_what_is_in_the_store(tmp_path: Path) -> None:
    path = fake_build(tmp_path)
    card = write_card(path, tmp_path / "card.md", seconds=12.34).read_text()
    store = ViewStore(path)
    assert "12 objects of 3 classes, 3 views each: 36 RGB images of 16 x 16" in card
    train, val = (int(((store.labels == 0) & (store.split == s)).sum()) for s in (0, 1))
    assert f"| 0 | apple | {train} | {val} |" in card
    assert "| light_phi | rad | 0 to 6.283 (circular) | azimuth of the spot light |" in card
    assert "| rotation_y | rad | -1.571 to 1.571, not -0.5 to 0.5 |" in card
    assert "Renderer: fake, version 1; options: samples = 2" in card and "* seed: 5" in card
    assert "| even | CC0 | 6 |" in card and "maker 12 (1)" in card and "maker 4 (1)" not in card
    assert "| bowl/004 | no faces |" in card
    assert "12.3 s (wall clock)" in card and "* Processor: " in card and f"numpy {np.__version__}" in card
    assert "![" not in card


def test_machine_readable_card(tmp_path: Path) -> None:
    path = fake_build(tmp_path)
    store = ViewStore(path)
    write_card(path, tmp_path / "card.md", seconds=2.0)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["@type"] == "Dataset" and card["license"] == ["CC0"]
    assert card["counts"]["images"] == 36 and card["counts"]["train_objects"] == int((store.split == 0).sum())
    for label, row in enumerate(card["classes"]):
        counts = [int(((store.labels == label) & (store.split == s)).sum()) for s in (0, 1)]
        assert [row["train_objects"], row["val_objects"]] == counts and row["name"] == store.classes[label]
    latents = {row["name"]: row for row in card["variableMeasured"]}
    assert tuple(latents) == store.schema.names
    assert latents["rotation_y"]["never"] == [-0.5, 0.5] and "never" not in latents["rotation_x"]
    hue = latents["floor_hue"]
    assert (hue["unitText"], hue["minValue"], hue["maxValue"], hue["circular"]) == ("hue", 0.0, 1.0, True)
    assert card["making"]["renderer"] == {"name": "fake", "version": "1", "options": {"samples": 2}}
    assert card["making"]["seed"] == 5 and card["making"]["generator_version"] == 1
    assert sum(row["objects"] for row in card["sources"]) == 12
    assert card["skipped"] == [{"mesh": "bowl/004", "reason": "no faces"}]
    assert card["timing"]["seconds"] == 2.0 and card["timing"]["cores"] >= 1 and card["timing"]["processor"]
    assert data_card(store, card["timing"]) == card  # nothing in it that JSON changes


def test_timing_of_an_earlier_card_stays_and_the_gallery_is_shown(tmp_path: Path) -> None:
    path = fake_build(tmp_path)
    assert "## Time\n\nNot recorded." in write_card(path, tmp_path / "a.md").read_text()
    write_card(path, tmp_path / "a.md", seconds=7.0)
    write_gallery(path, tmp_path / "a.png")
    again = write_card(path, tmp_path / "a.md").read_text()
    assert "7 s (wall clock)" in again and "(a.png)" in again
    (tmp_path / "a.json").write_text("{")  # cut short by a kill
    assert "Not recorded." in write_card(path, tmp_path / "a.md").read_text()


def test_card_of_a_store_without_provenance(tmp_path: Path) -> None:
    card = write_card(write_synthetic_store(tmp_path / "a.h5", 4, 2, 8), tmp_path / "a.md").read_text()
    assert "not recorded" in card and "## Meshes left out\n\nNone.\n" in card
    assert "## What was missing or repaired\n\nNothing.\n" in card and card.endswith("is small\n\nNot counted.\n")


class TestAxes:
    NAMES = threediebench_t_schema().names

    def latents(self, **values: float) -> np.ndarray:
        return np.array([values.get(name, 0.0) for name in self.NAMES])

    def test_projection_by_hand(self) -> None:
        """The camera is 2.5 from the origin at 45 degrees in +y, its right is -x and its field of view 0.691111 rad."""
        ends, depth = project_axes(self.latents(), self.NAMES, 256)
        scale, h = 128 / np.tan(0.691111 / 2), AXIS_LENGTH * np.sqrt(0.5)
        middle = 127.5
        expected = [
            (middle, middle),
            (middle - AXIS_LENGTH / 2.5 * scale, middle),
            (middle, middle + h / (2.5 - h) * scale),  # y comes towards the camera and goes down
            (middle, middle - h / (2.5 - h) * scale),
        ]
        np.testing.assert_allclose(ends, expected, atol=0.02)
        np.testing.assert_allclose(depth, [2.5, 2.5, 2.5 - h, 2.5 - h], atol=1e-9)

    def test_rotation_turns_and_translation_is_in_the_turned_frame(self) -> None:
        """A quarter turn about z takes x to y; a step along the object's x is then one along the world's y."""
        plain, _ = project_axes(self.latents(), self.NAMES, 100)
        turned, _ = project_axes(self.latents(rotation_z=np.pi / 2), self.NAMES, 100)
        np.testing.assert_allclose(turned[1], plain[2], atol=1e-6)
        moved, _ = project_axes(self.latents(rotation_z=np.pi / 2, translation_x=AXIS_LENGTH), self.NAMES, 100)
        np.testing.assert_allclose(moved[0], plain[2], atol=1e-6)

    def test_drawn_where_the_camera_sees_them(self) -> None:
        grey = Image.new("RGB", (128, 128), (128, 128, 128))
        latents = self.latents(rotation_x=0.4, rotation_y=-0.3, rotation_z=0.7)
        picture = np.asarray(draw_axes(grey, latents, self.NAMES)).astype(int)
        ends, _ = project_axes(latents, self.NAMES, 128)
        for axis in range(3):
            column, row = (0.3 * ends[0] + 0.7 * ends[axis + 1]).round().astype(int)
            assert picture[row, column].argmax() == axis and picture[row, column].max() > 180
        assert (picture[:20] == 128).all() and np.asarray(grey).max() == 128

    def test_renderer_and_axes_agree(self) -> None:
        """Bars along the axes, drawn by the renderer, have the axis' colour where the axis is projected to."""
        bars = [trimesh.creation.box(bounds=np.array([[-0.03] * 3, tip])) for tip in 0.47 * np.eye(3) + 0.03]
        mesh = Mesh(
            vertices=np.concatenate([bar.vertices for bar in bars]).astype(np.float32),
            faces=np.concatenate([bar.faces + 8 * k for k, bar in enumerate(bars)]).astype(np.int32),
            face_material=np.repeat(np.arange(3, dtype=np.int32), 12),
            corner_uv=None,
            corner_normals=None,
            materials=tuple(Material(diffuse=colour) for colour in np.eye(3, dtype=np.float32)),
        )
        latents = sample_latents(threediebench_t_schema(), 0, 0, 40) * ([1] * 7 + [0.4] * 3)
        pictures = get_renderer("raycast").render(mesh, view_parameters(latents, self.NAMES), 128)
        right = []
        for row, picture in zip(latents, pictures, strict=True):
            ends, _ = project_axes(row, self.NAMES, 128)
            column, line = (0.15 * ends[0] + 0.85 * ends[1:]).round().astype(int).T
            right += (picture[line, column].argmax(axis=1) == np.arange(3)).tolist()
        assert np.mean(right) > 0.9  # where no other bar stands before it

    def test_only_the_last_columns_of_a_gallery(self, tmp_path: Path) -> None:
        store = ViewStore(write_synthetic_store(tmp_path / "a.h5", objects=2, views=8, size=64))
        plain = np.asarray(Image.open(write_gallery(store, tmp_path / "a.png", axes=0)))
        drawn = np.asarray(Image.open(write_gallery(store, tmp_path / "b.png")))
        start = plain.shape[1] - 2 * 66
        assert np.array_equal(plain[:, :start], drawn[:, :start])
        assert (plain[:, start : start + 66] != drawn[:, start : start + 66]).any()
        assert (plain[:, start + 66 :] != drawn[:, start + 66 :]).any()
