"""Pictures of scenes: where things are drawn, and that they are drawn the same way every time."""

from __future__ import annotations

import numpy as np
import pytest

from equissl.reporting.bev import (
    BOX,
    EGO,
    MOVING,
    Window,
    arrows,
    component_colours,
    draw_cells,
    draw_sweep,
    height_colours,
)

WINDOW = Window((-10.0, 10.0), (-5.0, 5.0), 200)


def near(picture: np.ndarray, row: int, column: int, colour: tuple[int, int, int], reach: int = 2) -> bool:
    patch = picture[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1].astype(int)
    return bool((np.abs(patch - np.array(colour)).sum(2) < 240).any())


def test_forward_is_up_and_left_is_left() -> None:
    points = np.array([[8.0, 4.0, 1.0], [-8.0, -4.0, 1.0]])
    picture = np.asarray(draw_sweep(points, window=WINDOW))
    assert picture.shape == (200, 100, 3)
    bright = height_colours(np.array([1.0]))[0]
    assert near(picture, 20, 10, bright) and near(picture, 180, 90, bright)
    assert not near(picture, 20, 90, bright) and not near(picture, 180, 10, bright)
    assert near(picture, 98, 50, EGO, 4)


def test_a_box_has_its_sides_and_a_line_to_its_front() -> None:
    box = np.array([[5.0, 0.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2]])  # length to the left
    picture = np.asarray(draw_sweep(np.zeros((0, 3)), box, window=WINDOW))
    for x, y in ((6.0, 0.0), (4.0, 0.0), (5.0, 2.0), (5.0, -2.0), (5.0, 2.7)):
        assert near(picture, round((10 - x) * 10), round((5 - y) * 10), BOX), (x, y)
    assert not near(picture, round((10 - 5.0) * 10), round((5 + 2.7) * 10), BOX)


def test_arrows_are_drawn_where_things_move() -> None:
    random = np.random.default_rng(0)
    points = np.concatenate(
        [[6.5, 2.5, 0] + 0.3 * random.random((10, 3)), [-6.5, -2.5, 0] + 0.3 * random.random((9, 3))]
    )
    flow = np.zeros((19, 3))
    flow[:10, 0] = -0.5
    starts, motions = arrows(points, flow, slowest=0.05)
    np.testing.assert_allclose(starts, points[None, :10, :2].mean(1))
    np.testing.assert_allclose(motions, [[-0.5, 0]])
    picture = np.asarray(draw_sweep(points, flow=flow, window=WINDOW, ahead=6.0))
    assert near(picture, 55, 24, MOVING, 4) and not near(picture, 155, 76, MOVING, 6)
    assert len(arrows(points, flow * 0.01, 0.05)[0]) == 0


def test_a_turned_map_lies_over_the_scene_as_it_was() -> None:
    """One cell ahead of the sensor, in a scene that was turned by 90°: drawn at the right of the first picture's."""
    colour = np.array([[255, 0, 0]], dtype=np.uint8)
    ahead = np.asarray(draw_cells(np.array([[6, 4]]), colour, (-10.0, -9.0), 2.0, WINDOW))  # x 2..4, y -1..1
    assert near(ahead, 70, 50, (255, 0, 0))
    right = np.asarray(draw_cells(np.array([[6, 4]]), colour, (-10.0, -9.0), 2.0, WINDOW, angle=np.pi / 2))
    assert near(right, 100, 80, (255, 0, 0)) and not near(right, 70, 50, (255, 0, 0))


def test_components_share_one_scale_and_never_vanish() -> None:
    first, second = np.array([[0.0, 1, 5]] * 50), np.array([[2.0, 3, 5]] * 50)
    one, other = component_colours([first, second])
    assert one[0].tolist() == [40, 40, 40] and other[0].tolist()[:2] == [255, 255]
    assert component_colours([np.zeros((0, 3))])[0].shape == (0, 3)


def test_the_same_scene_gives_the_same_bytes() -> None:
    random = np.random.default_rng(1)
    points, flow = random.normal(0, 5, (300, 3)), random.normal(0, 0.2, (300, 3))
    boxes = np.array([[3.0, 1, 0, 4, 2, 1.5, 0.4]])
    one, other = (draw_sweep(points, boxes, flow, WINDOW).tobytes() for _ in range(2))
    assert one == other
    shuffled = random.permutation(300)
    assert (
        draw_sweep(points[shuffled], boxes, None, WINDOW).tobytes() == draw_sweep(points, boxes, None, WINDOW).tobytes()
    )


def test_an_impossible_window_is_refused() -> None:
    with pytest.raises(ValueError, match="positive size"):
        Window((1.0, 1.0), (0.0, 1.0))
