"""Sites of a sparse tensor: the occupied voxels of a batch of grids, and their lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from equissl.sparse.index_map import Origin, Pairs

Triple = tuple[int, int, int]


class Sites:
    """N distinct voxels of a batch of grids.

    Everything that convolutions derive from positions alone, their index maps, is kept here and shared by all layers
    and features on these sites. A map is found by the geometry of the layer, so no layer can take that of another.

    Args:
        indices: integers (N, 4): batch, z, y, x. In any order, without repetition.
        spatial_shape: voxels of a grid along z, y, x.
        batch_size: number of grids. A grid may hold no voxel.
        stride: size of one voxel along z, y, x in voxels of the input.
        check: look at the values of ``indices``. Only to be left out where they are right by construction.

    Raises:
        ValueError: for indices of another shape or type, outside the grids, or repeated.
    """

    def __init__(
        self,
        indices: Tensor,
        spatial_shape: Triple,
        batch_size: int,
        stride: Triple = (1, 1, 1),
        origin: Origin | None = None,
        check: bool = True,
    ) -> None:
        if indices.ndim != 2 or indices.shape[1] != 4 or indices.dtype not in (torch.int32, torch.int64):
            found = f"{indices.dtype} {tuple(indices.shape)}"
            raise ValueError(f"expected integer indices (N, 4) of batch, z, y, x, got {found}")
        if len(spatial_shape) != 3 or min(spatial_shape) < 1 or batch_size < 1:
            raise ValueError(
                f"expected three positive sizes (z, y, x) and a positive batch size, got {spatial_shape}, {batch_size}"
            )
        self.indices = indices.int().contiguous()
        self.spatial_shape = (int(spatial_shape[0]), int(spatial_shape[1]), int(spatial_shape[2]))
        self.batch_size = int(batch_size)
        self.stride = stride
        self.origin = origin  # the strided convolution that made these sites; its inverse leads back
        self.submanifold: dict[object, Pairs] = {}
        # weak: a map holds its target, which holds the map; a cycle would keep device memory until the next collection
        self.strided: WeakValueDictionary[object, Sites] = WeakValueDictionary()
        self._padded: dict[Triple, Sites] = {}
        self._order: Tensor | None = None
        if check:
            self._check()

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Sites({len(self)} of {self.batch_size} x {self.spatial_shape}, stride {self.stride})"

    def __reduce__(self) -> tuple:
        # index maps are made again where they are needed
        return _restore, (self.indices, self.spatial_shape, self.batch_size, self.stride)

    def to(self, device: torch.device | str) -> Sites:
        """Return the same sites on another device, without index maps; themselves where they are there already."""
        indices = self.indices.to(device)
        if indices is self.indices:
            return self
        return Sites(indices, self.spatial_shape, self.batch_size, self.stride, check=False)

    def keys(self, margin: Triple = (0, 0, 0)) -> Tensor:
        """One int64 (N,) per site, ascending in (batch, z, y, x), of a grid with ``margin`` empty voxels on every side.

        With a margin, adding a constant (`key_step`) moves to a neighbour and never wraps around.
        """
        return site_keys(self.indices, self.spatial_shape, margin)

    @property
    def order(self) -> Tensor:
        """Rows (N,) that sort the sites by (batch, z, y, x)."""
        if self._order is None:
            self._order = torch.argsort(self.keys())
        return self._order

    def find(self, indices: Tensor) -> Tensor:
        """Rows (M,) of the given voxels (M, 4); -1 for those that are not among the sites or outside the grids."""
        indices = indices.to(self.indices.device)
        limit = torch.tensor([self.batch_size, *self.spatial_shape], device=indices.device)
        inside = ((indices >= 0) & (indices < limit)).all(1)
        keys, wanted = self.keys()[self.order], site_keys(indices, self.spatial_shape)
        if len(keys) == 0:
            return torch.full_like(wanted, -1)
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        return torch.where(inside & (keys[place] == wanted), self.order[place], -1)

    def padded(self, spatial_shape: Triple) -> Sites:
        """Return the sites in a grid of another size, which must hold them.

        Raises:
            ValueError: for a smaller grid.
        """
        if any(new < old for new, old in zip(spatial_shape, self.spatial_shape, strict=True)):
            raise ValueError(f"expected at least the spatial shape {self.spatial_shape}, got {spatial_shape}")
        if spatial_shape not in self._padded:
            self._padded[spatial_shape] = Sites(self.indices, spatial_shape, self.batch_size, self.stride, check=False)
        return self._padded[spatial_shape]

    def _check(self) -> None:
        limit = torch.tensor([self.batch_size, *self.spatial_shape], device=self.indices.device)
        outside = ((self.indices < 0) | (self.indices >= limit)).any(1)
        if bool(outside.any()):
            first = self.indices[outside][0].tolist()
            raise ValueError(
                f"expected indices (batch, z, y, x) below {(self.batch_size, *self.spatial_shape)}, got {first} "
                f"and {int(outside.sum()) - 1} others outside"
            )
        keys = self.keys()[self.order]
        repeated = keys[1:] == keys[:-1]
        if bool(repeated.any()):
            first = self.indices[self.order[1:][repeated][0]].tolist()
            raise ValueError(
                f"expected every voxel once, got {int(repeated.sum())} repetitions, the first of (batch, z, y, x) = "
                f"{first}; voxelise the points to merge them"
            )


def _restore(indices: Tensor, spatial_shape: Triple, batch_size: int, stride: Triple) -> Sites:
    return Sites(indices, spatial_shape, batch_size, stride, check=False)


def site_keys(indices: Tensor, spatial_shape: Triple, margin: Triple = (0, 0, 0)) -> Tensor:
    """Compute the position (N,) int64 of voxels in a row-major grid.

    Args:
        indices: (N, 4) voxels: batch, z, y, x.
        spatial_shape: voxels along z, y, x.
        margin: empty voxels on every side along z, y, x.
    """
    columns = indices.long().unbind(1)
    key = columns[0]
    for column, size, pad in zip(columns[1:], spatial_shape, margin, strict=True):
        key = key * (size + 2 * pad) + (column + pad)
    return key


def key_step(offsets: Tensor, spatial_shape: Triple, margin: Triple) -> Tensor:
    """Compute the offsets of keys for a move by each of the offsets (K, 3) along z, y, x: int64 (K,).

    Args:
        offsets: (K, 3).
        spatial_shape: voxels along z, y, x.
        margin: as of `site_keys`.
    """
    _, y, x = (size + 2 * pad for size, pad in zip(spatial_shape, margin, strict=True))
    return (offsets[:, 0] * y + offsets[:, 1]) * x + offsets[:, 2]


def key_sites(keys: Tensor, spatial_shape: Triple) -> Tensor:
    """Invert `site_keys` without margin: indices (N, 4).

    Args:
        keys: (N,) int64.
        spatial_shape: voxels along z, y, x.
    """
    z, y, x = spatial_shape
    column = [keys.div(z * y * x, rounding_mode="floor"), keys.div(y * x, rounding_mode="floor") % z]
    return torch.stack([*column, keys.div(x, rounding_mode="floor") % y, keys % x], dim=1)
