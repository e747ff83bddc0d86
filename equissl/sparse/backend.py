"""Interface of the backends of sparse convolutions, and what they share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from equissl.sparse.index_map import Geometry, Origin
from equissl.sparse.sites import Sites, Triple
from equissl.sparse.tensor import SparseTensor


class BackendError(RuntimeError):
    """A backend that is not installed, or that cannot run on the device of the features."""


class Backend(Protocol):
    """Convolutions without bias, of weights (D, kz, ky, kx, C), as torch's dense ``conv3d`` on the sites."""

    name: str

    def check(self, device: torch.device) -> None:
        """Raise `BackendError` if the backend cannot run."""

    def submanifold(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        """Convolve on the input's sites.

        Args:
            x: features (N, C) on sites.
            weight: (D, kz, ky, kx, C).
            geometry: geometry of the convolution.
        """

    def strided(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        """Convolve to every position whose kernel covers a site.

        Args:
            x: features (N, C) on sites.
            weight: (D, kz, ky, kx, C).
            geometry: geometry of the convolution.
        """

    def inverse(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        """Convolve back to the sites before the strided convolution that made those of ``x``.

        Args:
            x: features (N, C) on sites.
            weight: (D, kz, ky, kx, C).
            geometry: geometry of the strided convolution.
        """


def down(source: Sites, indices: Tensor, shape: Triple, origin: Origin) -> Sites:
    """Create the sites of a strided convolution's output, valid by construction.

    Args:
        source: sites of the input.
        indices: (M, 4) voxels of the output, sorted.
        shape: shape of the output's grid, z, y, x.
        origin: provenance of the sites.
    """
    z, y, x = (a * b for a, b in zip(source.stride, origin.geometry.stride, strict=True))
    return Sites(indices, shape, source.batch_size, (z, y, x), origin, check=False)


def check_origin(x: SparseTensor, geometry: Geometry, backend: str) -> Origin:
    """Return the strided convolution that made the sites of ``x``, for its inverse.

    Args:
        x: features on sites.
        geometry: expected of that convolution.
        backend: expected of it.

    Raises:
        ValueError: where there is none, or its kernel or backend differ.
    """
    origin = x.sites.origin
    if origin is None:
        raise ValueError(f"expected sites made by a strided convolution, which its inverse undoes, got {x.sites}")
    if (origin.geometry.kernel, origin.backend) != (geometry.kernel, backend):
        raise ValueError(
            f"expected the kernel and backend of the strided convolution to undo, {origin.geometry.kernel} and "
            f"{origin.backend!r}, got {geometry.kernel} and {backend!r}"
        )
    return origin
