"""Frames of boxes: named places, and grids in closed form."""

from __future__ import annotations

import math

import torch

from equissl.geometry.box_frames import box_grid, from_box_frame, to_box_frame
from equissl.geometry.boxes import box_corners, points_in_boxes


def test_a_box_that_looks_along_y() -> None:
    box = torch.tensor([10, 5, -1, 4.0, 2.0, 1.5, math.pi / 2], dtype=torch.float64)
    ahead, left, above = [10.0, 7, -1], [9.0, 5, -1], [10.0, 5, 0]
    points = torch.tensor([ahead, left, above], dtype=torch.float64)
    expected = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(to_box_frame(points, box), expected)
    torch.testing.assert_close(from_box_frame(expected, box), points)


def test_corners_are_halves_of_the_size() -> None:
    boxes = torch.rand(20, 7, generator=torch.Generator().manual_seed(0)).double() * 6 + 0.1
    seen = to_box_frame(box_corners(boxes), boxes[:, None])
    torch.testing.assert_close(seen.abs(), (boxes[:, None, 3:6] / 2).expand_as(seen))


def test_grid_in_closed_form() -> None:
    box = torch.tensor([[1.0, 2.0, 3.0, 6.0, 12.0, 3.0, 0.0]], dtype=torch.float64)
    grid = box_grid(box, 6)
    assert grid.shape == (1, 216, 3)
    # 6 cells of 1 x 2 x 0.5 m: their centres begin half a cell from the sides
    expected = [[-1.5 + i, -3.0 + 2 * j, 1.75 + 0.5 * k] for i in range(6) for j in range(6) for k in range(6)]
    torch.testing.assert_close(grid[0], torch.tensor(expected, dtype=torch.float64))


def test_grids_turn_with_their_boxes() -> None:
    boxes = torch.rand(10, 7, generator=torch.Generator().manual_seed(1)).double() * 6 + 0.1
    grid = box_grid(boxes, 3)
    torch.testing.assert_close(grid.mean(dim=1), boxes[:, :3])
    along = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin(), torch.zeros(10)], dim=1)
    torch.testing.assert_close(grid[:, 18:].mean(dim=1) - grid[:, :9].mean(dim=1), along * boxes[:, 3:4] * 2 / 3)
    assert all(bool(points_in_boxes(points, box[None]).all()) for points, box in zip(grid, boxes, strict=True))
    assert box_grid(boxes[:0], 3).shape == (0, 27, 3)
