"""Sparse convolution: one small interface, several backends, and the voxeliser."""

from equissl.sparse.backend import BackendError
from equissl.sparse.backends import BACKENDS, available_backends, choose_backend, get_backend
from equissl.sparse.layers import (
    InverseConv3d,
    SparseConv3d,
    SparseModule,
    SparseSequential,
    SubmanifoldConv3d,
    set_backend,
)
from equissl.sparse.sites import Sites
from equissl.sparse.tensor import SparseTensor
from equissl.sparse.voxelize import VoxelGrid, Voxels, voxelize

__all__ = [
    "BACKENDS",
    "BackendError",
    "InverseConv3d",
    "Sites",
    "SparseConv3d",
    "SparseModule",
    "SparseSequential",
    "SparseTensor",
    "SubmanifoldConv3d",
    "VoxelGrid",
    "Voxels",
    "available_backends",
    "choose_backend",
    "get_backend",
    "set_backend",
    "voxelize",
]
