"""Low-discrepancy directions that complement each other between neighbouring pixels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from equissl.renderers.lighting import Vector, perpendicular_basis

_TILE = 4  # pixels a side that share out one sequence
# Bayer's dispersed-dot order: neighbours are far apart in the sequence.
_ORDER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.int32)


def tile_rank(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return which part of the sequence a pixel (or grid node) uses: 0 … 15.

    Args:
        row: row of the pixel.
        column: column of the pixel.
    """
    return _ORDER[row % _TILE, column % _TILE]


@lru_cache(maxsize=32)
def sequence(count: int, dimensions: int) -> np.ndarray:
    """Generate (dimensions, count) float64 in [0, 1): additive recurrence by powers of the generalised golden ratio.

    Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018: any run of the sequence is spread evenly.

    Args:
        count: points.
        dimensions: coordinates of each point.
    """
    ratio = 2.0
    for _ in range(60):
        ratio = (1.0 + ratio) ** (1.0 / (dimensions + 1))
    steps = ratio ** -np.arange(1.0, dimensions + 1)
    return (0.5 + steps[:, None] * np.arange(1, count + 1)) % 1.0


@lru_cache(maxsize=32)
def cosine_directions(count: int, pair: int = 0, pairs: int = 1) -> np.ndarray:
    """Compute (3, count) float32 unit vectors about +z with density cos θ / π.

    Args:
        count: how many.
        pair, pairs: which two dimensions of a sequence of 2·pairs dimensions to use.
    """
    u, v = sequence(count, 2 * pairs)[2 * pair : 2 * pair + 2]
    radius, angle = np.sqrt(u), 2 * math.pi * v
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - u)]).astype(np.float32)


def frame(normal: Vector) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors (3, n) that complete unit normals to an orthonormal frame."""
    first, second = perpendicular_basis(np.stack(list(normal), 1))
    return np.ascontiguousarray(first.T), np.ascontiguousarray(second.T)


def from_frame(local: np.ndarray, basis: tuple[np.ndarray, np.ndarray], normal: Vector) -> Vector:
    """Turn directions (3, n) given about +z to point about the normals.

    Args:
        local: (3, n) directions.
        basis: two unit vectors across each normal.
        normal: (n,) coordinates.
    """
    x, y, z = (local[0] * basis[0][i] + local[1] * basis[1][i] + local[2] * normal[i] for i in range(3))
    return x, y, z
