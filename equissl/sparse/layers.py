"""Layers of sparse networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from equissl.sparse.backend import Backend, choose_backend
from equissl.sparse.index_map import Geometry
from equissl.sparse.sites import Triple
from equissl.sparse.tensor import SparseTensor

Size = int | Sequence[int]


class SparseModule(nn.Module):
    """A module from `SparseTensor` to `SparseTensor`; in `SparseSequential` all others act on the features alone."""


class SparseSequential(nn.Sequential, SparseModule):
    """Layers one after the other; dense ones (normalisation, activation, linear) act on the features (N, C)."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        for module in self:
            x = module(x) if isinstance(module, SparseModule) else x.with_features(module(x.features))
        return x


class _SparseConvolution(SparseModule, ABC):
    """Base of the convolutions: weights (out, kz, ky, kx, in), as spconv has kept them since 2.2.

    ``weight.permute(0, 4, 1, 2, 3)`` is the weight of torch's dense ``conv3d``. Initialised as the latter.

    Raises:
        ValueError: for sizes that are no positive numbers.
    """

    def __init__(
        self, in_channels: int, out_channels: int, geometry: Geometry, bias: bool = True, backend: str = "auto"
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, *geometry.kernel, *geometry.stride, *geometry.dilation) < 1:
            raise ValueError(f"expected positive sizes, got {in_channels}, {out_channels} channels and {geometry}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.geometry, self.backend = geometry, backend
        self.weight = nn.Parameter(torch.empty(out_channels, *geometry.kernel, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(inputs of one output)."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self.geometry}, bias={self.bias is not None}"

    def forward(self, x: SparseTensor) -> SparseTensor:
        if x.features.shape[1] != self.in_channels:
            raise ValueError(f"expected features with {self.in_channels} channels, got {tuple(x.features.shape)}")
        out = self._convolve(x, choose_backend(self.backend, x.features.device))
        return out if self.bias is None else out.with_features(out.features + self.bias.to(out.features.dtype))

    @abstractmethod
    def _convolve(self, x: SparseTensor, backend: Backend) -> SparseTensor:
        """Without the bias."""


class SubmanifoldConv3d(_SparseConvolution):
    """Convolution with output on the input's sites only, so that they do not spread.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: odd, one or along z, y, x.
        dilation: one or along z, y, x.
        bias: add one.
        backend: see `choose_backend`.

    Raises:
        ValueError: for an even kernel, which has no centre.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        dilation: Size = 1,
        bias: bool = True,
        backend: str = "auto",
    ) -> None:
        kernel = _triple(kernel_size)
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"expected an odd kernel size, got {kernel_size}")
        super().__init__(in_channels, out_channels, Geometry(kernel, dilation=_triple(dilation)), bias, backend)

    def _convolve(self, x: SparseTensor, backend: Backend) -> SparseTensor:
        if self.geometry.kernel == (1, 1, 1):  # spconv reads these weights transposed
            return x.with_features(functional.linear(x.features, self.weight.flatten(1)))
        return backend.submanifold(x, self.weight, self.geometry)


class SparseConv3d(_SparseConvolution):
    """Convolution with output on every position whose kernel covers a site: equal there to a dense one, zero elsewhere.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: one or along z, y, x.
        stride: likewise.
        padding: likewise.
        dilation: likewise.
        bias: add one, on these sites.
        backend: see `choose_backend`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
        backend: str = "auto",
    ) -> None:
        geometry = Geometry(_triple(kernel_size), _triple(stride), _triple(padding), _triple(dilation))
        super().__init__(in_channels, out_channels, geometry, bias, backend)

    def _convolve(self, x: SparseTensor, backend: Backend) -> SparseTensor:
        return backend.strided(x, self.weight, self.geometry)


class InverseConv3d(_SparseConvolution):
    """Transposed convolution that leads back to the sites before a `SparseConv3d`.

    It undoes the one that made the sites of its input, of which it takes stride, padding and dilation. Equal on these
    sites to torch's dense ``conv_transpose3d`` with the weight ``weight.permute(4, 0, 1, 2, 3)``.

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: that of the convolution to undo.
        bias: add one.
        backend: see `choose_backend`; that of the convolution to undo.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size = 3, bias: bool = True, backend: str = "auto"
    ) -> None:
        super().__init__(in_channels, out_channels, Geometry(_triple(kernel_size)), bias, backend)

    def _convolve(self, x: SparseTensor, backend: Backend) -> SparseTensor:
        return backend.inverse(x, self.weight, self.geometry)


def set_backend(module: nn.Module, name: str) -> None:
    """Set the backend of every sparse convolution inside ``module``. The weights stay.

    Args:
        module: any network.
        name: name of the backend, or ``auto``.
    """
    for layer in module.modules():
        if isinstance(layer, _SparseConvolution):
            layer.backend = name


def _triple(size: Size) -> Triple:
    values = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(values) != 3:
        raise ValueError(f"expected one size or three along z, y, x, got {size}")
    return values[0], values[1], values[2]
