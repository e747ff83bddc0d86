"""K-means on the device of the data, the same to the bit in every process that holds the same rows."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.cluster_index import ClusterIndex
from equissl.losses.precision import full_precision, unit_norm


@torch.no_grad()
@full_precision
def kmeans(
    rows: Tensor,
    clusters: int,
    iterations: int = 20,
    spherical: bool = False,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from k-means++ (Arthur and Vassilvitskii, 2007); stops early where no label changes.

    A cluster that loses all members moves to the row that is farthest from its own centroid.

    Args:
        rows: (N, D).
        clusters: number of clusters K, at most N.
        iterations: largest number of updates of the centroids.
        spherical: rows and centroids of unit length, so that the nearest centroid is the one of largest cosine.
        start: (K, D) first centroids; None draws them.
        generator: source of the draw.

    Returns:
        centroids (K, D) and labels (N,), each row's nearest of these centroids. Clusters are empty where fewer than K
        rows differ.

    Raises:
        ValueError: for other shapes, no clusters, or more clusters than rows.
    """
    if rows.ndim != 2 or not 1 <= clusters <= len(rows):
        raise ValueError(f"expected rows (N, D) and 1 to N clusters, got {tuple(rows.shape)} and {clusters}")
    if start is not None and start.shape != (clusters, rows.shape[1]):
        raise ValueError(f"expected start of shape {(clusters, rows.shape[1])}, got {tuple(start.shape)}")
    rows = unit_norm(rows) if spherical else rows
    centroids = spread(rows, clusters, generator) if start is None else start.to(rows)
    centroids = unit_norm(centroids) if spherical else centroids
    labels = nearest_centroid(rows, centroids)
    for _ in range(iterations):
        centroids = _centroids(rows, labels, centroids, spherical)
        moved = nearest_centroid(rows, centroids)
        if torch.equal(moved, labels):
            break
        labels = moved
    return centroids, labels


@torch.no_grad()
@full_precision
def nearest_centroid(rows: Tensor, centroids: Tensor) -> Tensor:
    """Find the position (N,) of the nearest centroid of each row, by Euclidean distance.

    Args:
        rows: (N, D).
        centroids: (K, D).
    """
    halves = centroids.square().sum(dim=1) / 2

    def block(part: slice) -> Tensor:
        return (halves - rows[part] @ centroids.T).argmin(dim=1)

    return in_blocks(block, len(rows), len(centroids))


def spread(rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose (count, D) rows one after the other, far ones from those before being likelier (k-means++).

    Args:
        rows: (N, D).
        count: rows to choose.
        generator: generator of the draws; None is torch's own.
    """
    device = rows.device if generator is None else generator.device
    chosen = [rows[torch.randint(len(rows), (), generator=generator, device=device).to(rows.device)]]
    closest = (rows - chosen[0]).square().sum(dim=1)
    while len(chosen) < count:
        # The largest of weights over exponential waiting times: a weighted draw without a floating-point running sum.
        waits = torch.empty_like(closest, device=device).exponential_(generator=generator).to(rows.device)
        chosen.append(rows[(closest / waits).argmax()])
        closest = torch.minimum(closest, (rows - chosen[-1]).square().sum(dim=1))
    return torch.stack(chosen)


def _centroids(rows: Tensor, labels: Tensor, old: Tensor, spherical: bool) -> Tensor:
    index = ClusterIndex(labels, len(old))
    means = index.means(rows)
    means = unit_norm(means) if spherical else means
    empty = (index.counts == 0).nonzero()[:, 0]
    if len(empty):
        distances = (rows - old[labels]).square().sum(dim=1)
        means[empty] = rows[distances.topk(len(empty)).indices]
    return means


def halve(rows: Tensor) -> Tensor:
    """Two parts of at least two rows (N, D), by spherical 2-means from the cut across their longest axis; not random.

    Returns:
        (N,) 0 or 1; both occur, also where rows are equal and the parts arbitrary.
    """
    centred = rows - rows.mean(dim=0)
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    side = ClusterIndex((centred @ axis > 0).long(), 2)
    labels = kmeans(rows, 2, spherical=True, start=side.means(rows))[1]
    if labels.min() < labels.max():
        return labels
    return (torch.arange(len(rows), device=rows.device) >= len(rows) // 2).long()
