"""Clustering of a cloud into things that stand apart."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


def cluster_points(points: np.ndarray, link: float = 0.5, voxel: float = 0.2, min_points: int = 10) -> np.ndarray:
    """Connected components of points whose neighbours are no further than about ``link`` metres apart.

    Works on the centres of mass of small voxels, so that dense places cost no more than sparse ones.

    Args:
        points: (N, 3).
        link: metres.
        voxel: side of a voxel, metres; below ``link``.
        min_points: smaller components are no cluster.

    Returns:
        (N,) int64 cluster of each point, -1 for none, numbered by their first point.
    """
    if not len(points):
        return np.zeros(0, np.int64)
    _, voxel_of, counts = np.unique(np.floor(points / voxel), axis=0, return_inverse=True, return_counts=True)
    voxel_of = voxel_of.reshape(-1)
    centres = np.stack([np.bincount(voxel_of, weights=points[:, k]) for k in range(3)], axis=1) / counts[:, None]
    pairs = cKDTree(centres).query_pairs(link, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(centres),) * 2)
    labels = connected_components(graph, directed=False)[1][voxel_of]
    found, first, back, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes >= min_points)
    number = np.full(len(found), -1, np.int64)
    number[large[np.argsort(first[large])]] = np.arange(len(large))
    return number[back.reshape(-1)]
