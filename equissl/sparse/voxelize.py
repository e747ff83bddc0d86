"""Voxelisation in which every point counts, whatever its number (dynamic; Zhou et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.sparse.sites import Sites, Triple, key_sites, site_keys
from equissl.sparse.tensor import SparseTensor


@dataclass(frozen=True)
class VoxelGrid:
    """A box of equal voxels.

    Attributes:
        point_range: lowest x, y, z and highest x, y, z in metres; the latter are outside.
        voxel_size: along x, y, z in metres.

    Raises:
        ValueError: for a range that is no positive multiple of the voxel size.
    """

    point_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.point_range) != 6 or len(self.voxel_size) != 3 or min(self.voxel_size) <= 0:
            raise ValueError(f"expected six numbers of range and three positive sizes, got {self}")
        counts = self._counts()
        if min(counts) < 0.5 or any(abs(count - round(count)) > 1e-3 for count in counts):
            raise ValueError(f"expected a range that is a positive multiple of the voxel size, got {self}")

    @property
    def shape(self) -> Triple:
        """Number of voxels along z, y, x."""
        x, y, z = (round(count) for count in self._counts())
        return z, y, x

    def locate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels (P, 3) = z, y, x of points (P, 3+), and whether they are inside (P,), in the points' precision."""
        low, size = (points.new_tensor(values) for values in (self.point_range[:3], self.voxel_size))
        position = ((points[:, :3] - low) / size).floor().flip(1)
        inside = ((position >= 0) & (position < position.new_tensor(self.shape))).all(1)
        return torch.where(inside[:, None], position, 0).long(), inside

    def _counts(self) -> list[float]:
        low, high = self.point_range[:3], self.point_range[3:]
        return [(b - a) / size for a, b, size in zip(low, high, self.voxel_size, strict=True)]


@dataclass(frozen=True)
class Voxels:
    """Occupied voxels, and the voxel of each point.

    Attributes:
        tensor: mean of the points' columns (V, C) in each occupied voxel; sorted by batch, z, y, x.
        point_to_voxel: row of ``tensor`` of each point, of all clouds joined (P,) int64; -1 for points out of range.
        counts: number of points of each voxel (V,), those beyond ``max_points`` too.
        sizes: number of points of each cloud.
    """

    tensor: SparseTensor
    point_to_voxel: Tensor
    counts: Tensor
    sizes: tuple[int, ...]


def voxelize(clouds: Sequence[Tensor], grid: VoxelGrid, max_points: int | None = None) -> Voxels:
    """Average the points in each voxel, of a batch of clouds. Differentiable in the points' columns.

    Points out of range get no voxel. A cloud may be empty, or all out of range: its grid then holds no voxel.

    Args:
        clouds: points (P, C) of each; columns x, y, z in metres, then any others.
        grid: grid of voxels.
        max_points: only the first so many of a voxel enter its mean; the others belong to it all the same.

    Raises:
        ValueError: for clouds of different widths or without coordinates, or points that are not finite.
    """
    points = _joined(clouds, max_points)
    sizes = tuple(len(cloud) for cloud in clouds)
    position, inside = grid.locate(points.detach())
    batch = torch.repeat_interleave(
        torch.arange(len(sizes), device=points.device), torch.tensor(sizes, device=points.device)
    )
    keys = site_keys(torch.cat([batch[:, None], position], dim=1)[inside], grid.shape)
    unique, voxel, counts = torch.unique(keys, sorted=True, return_inverse=True, return_counts=True)
    point_to_voxel = torch.full_like(batch, -1)
    point_to_voxel[inside] = voxel
    sites = Sites(key_sites(unique, grid.shape), grid.shape, len(sizes), check=False)
    features = _means(points[inside], voxel, counts, max_points)
    return Voxels(SparseTensor(features, sites), point_to_voxel, counts, sizes)


def _joined(clouds: Sequence[Tensor], max_points: int | None) -> Tensor:
    if not clouds or any(cloud.ndim != 2 or cloud.shape[1] < 3 or not cloud.is_floating_point() for cloud in clouds):
        found = [f"{cloud.dtype} {tuple(cloud.shape)}" for cloud in clouds]
        raise ValueError(f"expected at least one cloud, each of floats (P, C) with C >= 3, got {found}")
    if len({cloud.shape[1] for cloud in clouds}) > 1:
        raise ValueError(f"expected clouds of one width, got {[tuple(cloud.shape) for cloud in clouds]}")
    if max_points is not None and max_points < 1:
        raise ValueError(f"expected max_points of at least 1 or none, got {max_points}")
    points = torch.cat(list(clouds))
    if not bool(points.isfinite().all()):
        wrong = [int((~cloud.isfinite()).any(1).sum()) for cloud in clouds]
        raise ValueError(f"expected finite points, got {wrong} others in the clouds of the batch")
    return points


def _means(points: Tensor, voxel: Tensor, counts: Tensor, max_points: int | None) -> Tensor:
    """Mean by sorting rather than by atomic additions, so that the same points give the same bits on any device."""
    if len(points) == 0:
        return points
    order = torch.argsort(voxel, stable=True)
    if max_points is not None:
        start = counts.cumsum(0) - counts
        rank = torch.arange(len(order), device=order.device) - start[voxel[order]]
        order, counts = order[rank < max_points], counts.clamp(max=max_points)
    return torch.segment_reduce(points[order], "mean", lengths=counts, axis=0)
