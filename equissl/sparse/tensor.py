"""Features on some voxels of a batch of grids."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.sparse.sites import Sites, Triple, site_keys


@dataclass(frozen=True)
class SparseTensor:
    """Features (N, C) on N sites; zero everywhere else.

    The order of the rows means nothing, and differs between backends after a strided convolution.

    Attributes:
        features: floats (N, C).
        sites: where they are.

    Raises:
        ValueError: when the two do not fit.
    """

    features: Tensor
    sites: Sites

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.sites):
            raise ValueError(
                f"expected features ({len(self.sites)}, C), one row for each site, got {tuple(self.features.shape)}"
            )
        if self.features.device != self.sites.indices.device:
            raise ValueError(
                f"expected features and indices on one device, got {self.features.device}, {self.sites.indices.device}"
            )

    @classmethod
    def of(cls, features: Tensor, indices: Tensor, spatial_shape: Triple, batch_size: int) -> SparseTensor:
        """Create a tensor from features (N, C) and voxels (N, 4) = batch, z, y, x, checked.

        Args:
            features: (N, C).
            indices: (N, 4).
            spatial_shape: voxels along z, y, x.
            batch_size: number of grids.

        Raises:
            ValueError: for indices outside the grids or repeated, and shapes that do not fit.
        """
        return cls(features, Sites(indices, spatial_shape, batch_size))

    @property
    def indices(self) -> Tensor:
        """Voxels (N, 4) int32: batch, z, y, x."""
        return self.sites.indices

    @property
    def spatial_shape(self) -> Triple:
        """Voxels along z, y, x."""
        return self.sites.spatial_shape

    @property
    def batch_size(self) -> int:
        return self.sites.batch_size

    @property
    def stride(self) -> Triple:
        """Size of one voxel along z, y, x, in voxels of the input."""
        return self.sites.stride

    def __len__(self) -> int:
        return len(self.features)

    def with_features(self, features: Tensor) -> SparseTensor:
        """Return other features (N, D) on the same sites, which keep their index maps."""
        return SparseTensor(features, self.sites)

    def to(self, device: torch.device | str) -> SparseTensor:
        """Return the tensor on another device, without index maps."""
        return SparseTensor(self.features.to(device), self.sites.to(device))

    def padded(self, spatial_shape: Triple) -> SparseTensor:
        """Return the same voxels in a larger grid (z, y, x)."""
        return SparseTensor(self.features, self.sites.padded(spatial_shape))

    def dense(self) -> Tensor:
        """Convert to (B, C, Z, Y, X), zero where there is no site; differentiable."""
        z, y, x = self.spatial_shape
        flat = self.features.new_zeros(self.batch_size * z * y * x, self.features.shape[1])
        flat = flat.index_copy(0, site_keys(self.indices, self.spatial_shape), self.features)
        return flat.view(self.batch_size, z, y, x, -1).permute(0, 4, 1, 2, 3).contiguous()
