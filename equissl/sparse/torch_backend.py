"""Sparse convolution in plain PyTorch: any device, any precision, and the twin that the others are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from equissl.sparse.backend import check_origin, down
from equissl.sparse.index_map import Geometry, Origin, Pairs, strided_pairs, submanifold_pairs
from equissl.sparse.sites import Sites
from equissl.sparse.tensor import SparseTensor


class TorchBackend:
    """Backend of index maps by sorted keys; one gather, matrix product and scatter for each element of the kernel."""

    name = "torch"

    def check(self, device: torch.device) -> None:
        """Do nothing: it runs everywhere."""

    def submanifold(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        key = self.name, geometry
        if key not in x.sites.submanifold:
            x.sites.submanifold[key] = submanifold_pairs(x.sites, geometry)
        return self._apply(x, weight, x.sites.submanifold[key], x.sites)

    def strided(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        key = self.name, geometry
        target = x.sites.strided.get(key)
        if target is None:
            indices, shape, pairs = strided_pairs(x.sites, geometry)
            target = down(x.sites, indices, shape, Origin(x.sites, geometry, self.name, pairs))
            x.sites.strided[key] = target
        assert target.origin is not None
        return self._apply(x, weight, target.origin.pairs, target)

    def inverse(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        origin = check_origin(x, geometry, self.name)
        return self._apply(x, weight, origin.pairs.inverse, origin.source)

    @staticmethod
    def _apply(x: SparseTensor, weight: Tensor, pairs: Any, sites: Sites) -> SparseTensor:
        features, device = x.features, x.features.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            features, weight = features.to(dtype), weight.to(dtype)
        with torch.autocast(device, enabled=False):
            return SparseTensor(gather_multiply_scatter(features, weight.flatten(1, 3), pairs, len(sites)), sites)


def gather_multiply_scatter(features: Tensor, weight: Tensor, pairs: Pairs, rows: int) -> Tensor:
    """Sum over kernel elements k of W_k times the feature of the input row, at the output row.

    Sums are kept in float32 for half precisions. Memory: only the inputs are kept for the gradient.

    Args:
        features: (N, C).
        weight: (D, K, C).
        pairs: of K elements.
        rows: M.

    Returns:
        (M, D).
    """
    out: Tensor = _GatherMultiplyScatter.apply(features, weight, pairs, rows)
    return out


class _GatherMultiplyScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: Pairs, rows: int) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        return _scatter(features, weight.permute(1, 2, 0), pairs, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        pairs, need_features, need_weight = ctx.pairs, ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_features = grad_weight = None
        if need_features:
            grad_features = _scatter(grad, weight.permute(1, 0, 2), pairs.inverse, len(features))
        if need_weight:
            products = [_outer(grad, features, pair) for pair in pairs.rows]
            grad_weight = torch.stack(products, dim=1).to(weight.dtype)
        return grad_features, grad_weight, None, None


def _scatter(features: Tensor, weight: Tensor, pairs: Pairs, rows: int) -> Tensor:
    """(N, C) and weights (K, C, D) to (rows, D)."""
    wide = torch.promote_types(features.dtype, torch.float32)
    out = features.new_zeros(rows, weight.shape[2], dtype=wide)
    for matrix, pair in zip(weight, pairs.rows, strict=True):
        if pair is None:
            out += features @ matrix
        elif len(pair[0]):
            # a row occurs once for each element: the sum does not depend on the order of atomic additions
            out.index_add_(0, pair[1], (features.index_select(0, pair[0]) @ matrix).to(wide))
    return out.to(features.dtype)


def _outer(grad: Tensor, features: Tensor, pair: tuple[Tensor, Tensor] | None) -> Tensor:
    """Gradient (D, C) of one element's weights."""
    if pair is not None:
        grad, features = grad.index_select(0, pair[1]), features.index_select(0, pair[0])
    return grad.T @ features
