"""Ground: a simple label where a data set brings none, and planes of the road."""

from __future__ import annotations

import numpy as np


def estimate_ground(points: np.ndarray, cell: float = 2.0, height: float = 0.25, steepest: float = 0.12) -> np.ndarray:
    """Estimate the points close to the lowest surface around them.

    The lowest point of every ``cell`` is taken as ground where it is not far above the lowest of the 7 x 7 cells around
    it; a point is ground where it is less than ``height`` above that. Stray returns from below the street are left out
    by taking the lowest but a few percent of a cell's points.

    Args:
        points: (N, 3) metres, z up.
        cell: side of a cell, metres.
        height: metres.
        steepest: slope of the street.

    Returns:
        (N,) bool.
    """
    if not len(points):
        return np.zeros(0, bool)
    keys = np.floor(points[:, :2] / cell).astype(np.int64)
    low = keys.min(axis=0)
    rows, columns = (keys - low).T
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    flat = rows * shape[1] + columns
    order = np.lexsort((points[:, 2], flat))
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    floor = np.full(shape, np.inf)
    floor.ravel()[flat[order[starts]]] = points[order[starts + counts // 20], 2]
    around = _lowest_around(floor, 3) + steepest * cell * 3
    reference = np.minimum(floor, around)
    return points[:, 2] < reference.ravel()[flat] + height


def plane_height(plane: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Compute z of a plane below or above positions: (M,).

    Args:
        plane: (4,), as in `Sweep.ground_plane`.
        positions: (M, 2 or more).
    """
    a, b, c, d = plane
    return -(a * positions[:, 0] + b * positions[:, 1] + d) / c


def _lowest_around(grid: np.ndarray, reach: int) -> np.ndarray:
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(grid, width, constant_values=np.inf)
        grid = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).min(axis=-1)
    return grid
