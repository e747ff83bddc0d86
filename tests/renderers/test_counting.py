"""Pixels that show the object, against rays written out by hand; and what the default quality is for: thin objects."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers import ViewParameters, get_renderer, render_counted
from equissl.renderers.counting import count_object_pixels

pytest.importorskip("open3d", reason="the ray caster needs open3d-cpu")

CAMERA = np.array([0, 2.5 * math.sqrt(0.5), 2.5 * math.sqrt(0.5)])
RIGHT, UP, FORWARD = (
    np.array(axis)
    for axis in ((-1.0, 0, 0), (0, -math.sqrt(0.5), math.sqrt(0.5)), (0, -math.sqrt(0.5), -math.sqrt(0.5)))
)
TANGENT = math.tan(0.691111 / 2)


def facing(width: float, height: float, turn: float = 0.0) -> Mesh:
    """A rectangle at the origin that faces the camera, turned in its plane."""
    from equissl.datasets.meshes.mesh import Material

    across = math.cos(turn) * RIGHT + math.sin(turn) * UP
    along = -math.sin(turn) * RIGHT + math.cos(turn) * UP
    corners = [x * width / 2 * across + y * height / 2 * along for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(np.array(corners, np.float32), faces, np.zeros(2, np.int32), None, None, (Material(),), name="bar")


def seen_by_hand(width: float, height: float, turn: float, size: int, offsets: tuple[float, ...]) -> np.ndarray:
    """Pixels (size, size) of which a sample shows the rectangle, by similar triangles."""
    seen = np.zeros((size, size), bool)
    middle = np.arange(size) + 0.5 - size / 2
    for dy in offsets:
        for dx in offsets:
            x, y = np.meshgrid(middle + dx, -(middle + dy))
            x, y = (2.5 * TANGENT * 2 / size * value for value in (x, y))  # in the plane of the rectangle
            across = math.cos(turn) * x + math.sin(turn) * y
            along = -math.sin(turn) * x + math.cos(turn) * y
            seen |= (np.abs(across) < width / 2) & (np.abs(along) < height / 2)
    return seen


@pytest.mark.parametrize(("quality", "offsets"), [("draft", (0.0,)), ("plain", (-0.41, 0.41)), ("fast", (-0.41, 0.41))])
@pytest.mark.parametrize("shape", [(0.4, 0.3, 0.2), (0.011, 0.9, 0.3), (0.001, 0.9, 0.1)])
def test_count_is_that_of_the_samples_that_hit(quality: str, offsets: tuple, shape: tuple) -> None:
    expected = seen_by_hand(*shape, 64, offsets).sum()
    views = [ViewParameters(), ViewParameters(translation=np.array([60.0, 0, 0]))]
    rendered = get_renderer("raycast", quality=quality).render_counted(facing(*shape), views, 64)
    assert abs(rendered.object_pixels[0] - expected) <= 1 and rendered.object_pixels[1] == 0
    plain = get_renderer("raycast", quality=quality).render(facing(*shape), views, 64)
    assert np.array_equal(rendered.images, plain)


def test_renderers_that_do_not_count_are_counted_for() -> None:
    class Grey:
        name, version, options = "grey", "1", {}

        def render(self, mesh: Mesh, views: list, size: int) -> np.ndarray:
            return np.full((len(views), size, size, 3), 128, np.uint8)

    bar, views = facing(0.3, 0.5, 0.4), [ViewParameters(rotation=np.eye(3)), ViewParameters(light_theta=0.5)]
    rendered = render_counted(Grey(), bar, views, 48)
    assert rendered.images.shape == (2, 48, 48, 3)
    own = get_renderer("raycast").render_counted(bar, views, 48).object_pixels
    assert np.array_equal(rendered.object_pixels, own) and np.array_equal(count_object_pixels(bar, views, 48), own)


def test_torch_renderers_count_the_same() -> None:
    pytest.importorskip("warp", reason="needs warp-lang")
    bar, views = facing(0.3, 0.5, 0.4), [ViewParameters(), ViewParameters(translation=np.array([0.1, 0, 0]))]
    ours = get_renderer("warp", device="cpu").render_counted(bar, views, 32)
    assert np.array_equal(ours.object_pixels, get_renderer("raycast").render_counted(bar, views, 32).object_pixels)


def test_what_the_floor_hides_is_not_counted() -> None:
    below = ViewParameters(translation=np.array([0, 0, -2.0]))
    assert count_object_pixels(facing(0.3, 0.3), [below], 32).tolist() == [0]


def test_by_default_a_bar_as_thin_as_a_pixel_is_one_line() -> None:
    """Two samples lie 0.82 pixels apart: a bar of 0.9 is met in every row. One sample a pixel misses it in some."""
    pixel = 2 * 2.5 * TANGENT / 64
    bar, view = facing(0.9 * pixel, 40 * pixel, turn=0.1), ViewParameters()
    away = ViewParameters(translation=np.array([60.0, 0, 0]))
    rows = {}
    for name, options in (("default", {}), ("draft", {"quality": "draft"})):
        image, empty = get_renderer("raycast", **options).render(bar, [view, away], 64).astype(int)
        line = seen_by_hand(1.5 * pixel, 36 * pixel, 0.1, 64, (0.0,))  # not its shadow
        rows[name] = ((np.abs(image - empty).max(-1) > 2) & line).any(1)[16:48]
    assert rows["default"].all() and not rows["draft"].all()


def test_the_default_is_anti_aliased_and_draft_is_asked_for() -> None:
    plain, draft = get_renderer("raycast").options, get_renderer("raycast", quality="draft").options
    assert plain["quality"] == "plain" and {**plain, "quality": "draft", "antialias": 1} == draft
    for quality in ("plain", "fast", "soft", "reference"):
        assert get_renderer("raycast", quality=quality).options["antialias"] >= 2
