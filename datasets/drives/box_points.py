"""Points inside of boxes."""

from __future__ import annotations

import numpy as np


def points_in_box(points: np.ndarray, box: np.ndarray, margin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Find the indices of the points inside one box, its surface included.

    Args:
        points: (N, 3).
        box: (7,) x, y, z of the centre, dx, dy, dz, heading.
        margin: metres added to dx, dy and dz in all.

    Returns:
        (n,) int64 indices, increasing.
    """
    half = (box[3:6] + np.asarray(margin)) / 2
    # a cheap upright square first: few points are left for the rotation
    reach = np.hypot(half[0], half[1])
    near = np.flatnonzero((np.abs(points[:, 0] - box[0]) <= reach) & (np.abs(points[:, 1] - box[1]) <= reach))
    local = points[near].astype(np.float64) - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    along, across = cos * local[:, 0] + sin * local[:, 1], cos * local[:, 1] - sin * local[:, 0]
    inside = (np.abs(along) <= half[0]) & (np.abs(across) <= half[1]) & (np.abs(local[:, 2]) <= half[2])
    return near[inside]


def count_points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Count the points inside of each box: (M,) int64.

    Args:
        points: (N, 3).
        boxes: (M, 7).
    """
    return np.array([len(points_in_box(points, box)) for box in boxes], dtype=np.int64)
