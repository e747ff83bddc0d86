"""Rigid motion of one cluster between two clouds."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def propose_shifts(source: np.ndarray, target: np.ndarray, reach: float, cell: float, count: int) -> np.ndarray:
    """Propose likely translations: peaks in the histogram of all differences ``target - source``.

    Args:
        source: (n, 3) points of the cluster.
        target: (m, 3) points it may have become.
        reach: longest translation in the plane, metres.
        cell: side of a bin in the plane, metres.
        count: how many at most.

    Returns:
        (k, 3) translations, the most frequent first; heights are the mean over the differences of a bin.
    """
    difference = (target[None] - source[:, None]).reshape(-1, 3)
    difference = difference[(np.hypot(difference[:, 0], difference[:, 1]) <= reach) & (np.abs(difference[:, 2]) < 0.4)]
    if not len(difference):
        return np.zeros((0, 3))
    half = int(np.ceil(reach / cell)) + 1
    side = 2 * half + 1
    bins = np.rint(difference[:, :2] / cell).astype(np.int64) + half
    flat = bins[:, 0] * side + bins[:, 1]
    votes = np.bincount(flat, minlength=side * side).reshape(side, side).astype(np.float64)
    height = np.bincount(flat, weights=difference[:, 2], minlength=side * side) / np.maximum(votes.ravel(), 1)
    padded = np.pad(votes, 1)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    smooth = blocks.sum(axis=(2, 3))
    ridge = np.lib.stride_tricks.sliding_window_view(np.pad(smooth, 1), (3, 3)).max(axis=(2, 3))
    peaks = np.flatnonzero(((smooth >= ridge) & (votes > 0)).ravel())
    peaks = peaks[np.argsort(-smooth.ravel()[peaks], kind="stable")][:count]
    return np.column_stack([(peaks // side - half) * cell, (peaks % side - half) * cell, height[peaks]])


def refine(source: np.ndarray, target: cKDTree, motion: np.ndarray, gates: tuple[float, ...]) -> np.ndarray:
    """Refine by iterative closest points with turns about z only; pairs further apart than a gate do not count.

    Args:
        source: (n, 3).
        target: tree of the target's points.
        motion: (4, 4) to start from.
        gates: metres, one per iteration.

    Returns:
        (4, 4) upright rigid motion.
    """
    for gate in gates:
        moved = source @ motion[:3, :3].T + motion[:3, 3]
        distance, nearest = target.query(moved, distance_upper_bound=gate)
        kept = np.isfinite(distance)
        if kept.sum() < 5:
            return motion
        motion = fit_upright(source[kept], target.data[nearest[kept]])
    return motion


def fit_upright(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit the motion (4, 4) of least squares that rotates about z only.

    Args:
        source: (n, 3).
        target: (n, 3).
    """
    middle, other = source.mean(axis=0), target.mean(axis=0)
    a, b = (source - middle)[:, :2], (target - other)[:, :2]
    angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = other - motion[:3, :3] @ middle
    return motion


def truncated_distance(source: np.ndarray, target: cKDTree, motion: np.ndarray, limit: float) -> float:
    """Compute the mean distance of the moved source from the target, each at most ``limit``.

    Args:
        source: (n, 3).
        target: tree of the target's points.
        motion: (4, 4).
        limit: metres.
    """
    distance, _ = target.query(source @ motion[:3, :3].T + motion[:3, 3], distance_upper_bound=limit)
    return float(np.minimum(distance, limit).mean())
