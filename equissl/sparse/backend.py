"""Interface of the backends of sparse convolutions, and the choice among them."""

from __future__ import annotations

import functools
from typing import Protocol

import torch
from torch import Tensor

from equissl.sparse.index_map import Geometry, Origin
from equissl.sparse.sites import Sites, Triple
from equissl.sparse.tensor import SparseTensor

BACKENDS = ("torch", "spconv", "spconv-triton")


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


@functools.cache
def get_backend(name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        BackendError: for one whose package is not installed; the message says what to install.
        ValueError: for an unknown name.
    """
    if name == "torch":
        from equissl.sparse.torch_backend import TorchBackend

        return TorchBackend()
    if name in BACKENDS:
        from equissl.sparse.spconv_backend import SpconvBackend

        return SpconvBackend(name)
    raise ValueError(f"expected a sparse backend 'auto' or one of {', '.join(BACKENDS)}, got {name!r}")


def choose_backend(name: str, device: torch.device) -> Backend:
    """Choose the backend of a layer for features on ``device``.

    ``auto`` is `torch` on the CPU; elsewhere the first of `spconv`, `spconv-triton` that is installed, else `torch`.

    Args:
        name: ``auto`` or a backend's.
        device: device of the features.

    Raises:
        BackendError: for one that is not installed or cannot run there.
        ValueError: for an unknown name.
    """
    backend = get_backend(_automatic(device.type) if name == "auto" else name)
    backend.check(device)
    return backend


def available_backends(device: torch.device) -> list[str]:
    """Return the names of the backends that can run on ``device`` as things are installed."""
    return [name for name in BACKENDS if _usable(name, device)]


@functools.cache
def _automatic(device_type: str) -> str:
    names = available_backends(torch.device(device_type))
    return next((name for name in names if name != "torch"), "torch")


def _usable(name: str, device: torch.device) -> bool:
    try:
        get_backend(name).check(device)
    except BackendError:
        return False
    return True


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
