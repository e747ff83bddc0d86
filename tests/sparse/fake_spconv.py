"""A package with the part of spconv's interface that the adapter calls, computed by dense convolutions.

As strict as the real one: int32 indices, an index map found by key must fit, no gradient in evaluation mode, no voxel
is an error, and a kernel of one voxel has its weight transposed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CALLS: list[dict[str, Any]] = []


@dataclass
class SparseConvTensor:
    features: Tensor
    indices: Tensor
    spatial_shape: list[int]
    batch_size: int
    indice_dict: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.indices.dtype == torch.int32
        assert isinstance(self.spatial_shape, list)
        assert len(self.features), "no voxels"

    def dense(self) -> Tensor:
        b, z, y, x = self.indices.long().unbind(1)
        out = self.features.new_zeros(self.batch_size, *self.spatial_shape, self.features.shape[1])
        return out.index_put((b, z, y, x), self.features).permute(0, 4, 1, 2, 3)


@dataclass
class Map:
    """What an index map remembers, and the options of the layer that made it."""

    kernel: list[int]
    indices: Tensor
    spatial_shape: list[int]
    out_indices: Tensor
    options: dict[str, list[int]]


class _Layer(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: list[int], bias: bool, indice_key: str
    ) -> None:
        super().__init__()
        assert not bias
        self.kernel, self.key = kernel_size, indice_key
        self.weight = nn.Parameter(torch.zeros(out_channels, *kernel_size, in_channels))

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        known = x.indice_dict.get(self.key)
        CALLS.append({"kind": type(self).__name__, "known": known is not None, "training": self.training})
        assert known is None or known.kernel == self.kernel
        if self.kernel == [1, 1, 1]:
            return SparseConvTensor(x.features @ self.weight.view(x.features.shape[1], -1), **self._same(x))
        dense, indices, shape, made = self.convolve(x, known)
        b, z, y, column = indices.long().unbind(1)
        features = dense[b, :, z, y, column]
        features = features if self.training else features.detach()
        return SparseConvTensor(features, indices, shape, x.batch_size, {**x.indice_dict, self.key: made})

    @staticmethod
    def _same(x: SparseConvTensor) -> dict[str, Any]:
        return {
            "indices": x.indices,
            "spatial_shape": x.spatial_shape,
            "batch_size": x.batch_size,
            "indice_dict": x.indice_dict,
        }


class SubMConv3d(_Layer):
    def __init__(self, *args: Any, dilation: list[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dilation = dilation

    def convolve(self, x: SparseConvTensor, known: Map | None) -> tuple[Tensor, Tensor, list[int], Map]:
        assert known is None or torch.equal(known.indices, x.indices)
        padding = [d * (k // 2) for d, k in zip(self.dilation, self.kernel, strict=True)]
        dense = functional.conv3d(
            x.dense(), self.weight.permute(0, 4, 1, 2, 3), padding=padding, dilation=self.dilation
        )
        return dense, x.indices, x.spatial_shape, known or Map(self.kernel, x.indices, x.spatial_shape, x.indices, {})


class SparseConv3d(_Layer):
    def __init__(self, *args: Any, stride: list[int], padding: list[int], dilation: list[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation}

    def convolve(self, x: SparseConvTensor, known: Map | None) -> tuple[Tensor, Tensor, list[int], Map]:
        assert known is None, "only support reuse subm indices"
        dense = functional.conv3d(x.dense(), self.weight.permute(0, 4, 1, 2, 3), **self.options)
        ones = SparseConvTensor(torch.ones(len(x.features), 1), x.indices, x.spatial_shape, x.batch_size).dense()
        covered = functional.conv3d(ones, torch.ones(1, 1, *self.kernel), **self.options)[:, 0].round()
        indices = covered.nonzero().flip(0).int()  # in another order than ours
        shape = list(dense.shape[2:])
        return dense, indices, shape, Map(self.kernel, x.indices, x.spatial_shape, indices, self.options)


class SparseInverseConv3d(_Layer):
    def convolve(self, x: SparseConvTensor, known: Map | None) -> tuple[Tensor, Tensor, list[int], Map]:
        assert known is not None
        assert torch.equal(known.out_indices, x.indices)
        options = known.options
        full = functional.conv_transpose3d(
            x.dense(), self.weight.permute(4, 0, 1, 2, 3), stride=options["stride"], dilation=options["dilation"]
        )
        z, y, width = options["padding"]
        full = functional.pad(full[:, :, z:, y:, width:], (0, 9, 0, 9, 0, 9))
        return full, known.indices, known.spatial_shape, known


def fake_package(name: str, cpu_only: bool = False) -> dict[str, ModuleType]:
    """Modules to put in ``sys.modules``, for a package of that name."""
    top, pytorch, constants = (ModuleType(name + part) for part in ("", ".pytorch", ".cppconstants"))
    for content in (SparseConvTensor, SubMConv3d, SparseConv3d, SparseInverseConv3d):
        setattr(pytorch, content.__name__, content)
    constants.CPU_ONLY_BUILD = cpu_only  # type: ignore[attr-defined]
    return {module.__name__: module for module in (top, pytorch, constants)}
