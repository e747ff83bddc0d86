"""Bird's-eye views of 3D features."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.sparse import Sites, SparseTensor
from equissl.sparse.sites import key_sites, site_keys


def bev_columns(x: SparseTensor) -> SparseTensor:
    """Stack the heights of every occupied column: features (N, C) on (Z, Y, X) to (M, C * Z) on (1, Y, X).

    Channel c at height z is column c * Z + z, as in the dense map that detectors take.
    """
    height, shape = x.spatial_shape[0], (1, *x.spatial_shape[1:])
    flat = x.indices.clone()
    flat[:, 1] = 0
    cells, row = torch.unique(site_keys(flat, shape), sorted=True, return_inverse=True)
    features = x.features.new_zeros(len(cells) * height, x.features.shape[1])
    features = features.index_copy(0, row * height + x.indices[:, 1], x.features)
    features = features.view(len(cells), height, x.features.shape[1]).transpose(1, 2).flatten(1)
    stride = (x.stride[0] * height, *x.stride[1:])
    return SparseTensor(features, Sites(key_sites(cells, shape), shape, x.batch_size, stride, check=False))


def compress_height(x: SparseTensor) -> Tensor:
    """Dense bird's-eye view (B, C * Z, Y, X), zero in empty cells (height compression of SECOND, Yan et al., 2018)."""
    return x.dense().flatten(1, 2)
