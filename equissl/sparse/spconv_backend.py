"""Adapter of spconv and of spconv-triton, which has the same interface. Accelerators only."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from equissl.sparse.backend import BackendError, check_origin, down
from equissl.sparse.index_map import Geometry, Origin
from equissl.sparse.tensor import SparseTensor

MODULES = {"spconv": "spconv.pytorch", "spconv-triton": "spconv_triton.pytorch"}
INSTALL = {
    "spconv": "pip install spconv-cu126 (or the newest spconv-cuNNN that is no newer than your CUDA)",
    "spconv-triton": "pip install spconv-triton",
}
KEY = "map"  # the only entry of the package's own table of index maps; sharing is our sites' business


class SpconvBackend:
    """Backend that calls spconv's layers with our weights, of the same layout, and keeps their index maps at our sites.

    On the CPU it refuses. spconv's scatter-add there shares variables between threads, so that with more than one
    OpenMP thread nearly every output and input gradient is wrong, without an error; and the number of threads may
    change at any time. spconv-triton has no CPU kernels.

    Args:
        name: `spconv` or `spconv-triton`.

    Raises:
        BackendError: when the package is not installed or does not load.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._package: Any = importlib.import_module(MODULES[name])
        except (ImportError, OSError) as error:
            raise BackendError(f"the sparse backend {name!r} needs its package: {INSTALL[name]} ({error})") from error
        # a build for the CPU loads on any machine, and hides one for the GPU
        self._cpu_only = name == "spconv" and importlib.import_module("spconv.cppconstants").CPU_ONLY_BUILD
        self._layers: dict[tuple[str, Geometry, int, int], nn.Module] = {}

    def check(self, device: torch.device) -> None:
        if device.type == "cpu":
            reason = (
                "its CPU kernels give wrong results with more than one thread"
                if self.name == "spconv"
                else "it has no CPU kernels"
            )
            raise BackendError(f"the sparse backend {self.name!r} is refused on the CPU: {reason}; use 'torch'")
        if self._cpu_only:
            raise BackendError(
                f"the sparse backend 'spconv' is installed without GPU kernels: uninstall spconv and cumm, then "
                f"{INSTALL['spconv']}"
            )

    def submanifold(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        if len(x) == 0:  # the package fails
            return x.with_features(_zeros(x, weight, 0))
        key = self.name, geometry
        known: Any = x.sites.submanifold.get(key)
        out, pairs = self._run(x, weight, "SubMConv3d", geometry, known)
        x.sites.submanifold[key] = pairs
        return x.with_features(out.features)

    def strided(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        shape = geometry.output_shape(x.spatial_shape)
        if len(x) == 0:
            nothing = down(x.sites, x.indices, shape, Origin(x.sites, geometry, self.name, None))
            return SparseTensor(_zeros(x, weight, 0), nothing)
        out, pairs = self._run(x, weight, "SparseConv3d", geometry, None)
        return SparseTensor(
            out.features, down(x.sites, out.indices, shape, Origin(x.sites, geometry, self.name, pairs))
        )

    def inverse(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
        origin = check_origin(x, geometry, self.name)
        if len(x) == 0:
            return SparseTensor(_zeros(x, weight, len(origin.source)), origin.source)
        out, _ = self._run(x, weight, "SparseInverseConv3d", origin.geometry, origin.pairs)
        return SparseTensor(out.features, origin.source)

    def _run(self, x: SparseTensor, weight: Tensor, kind: str, geometry: Geometry, known: Any) -> tuple[Any, Any]:
        self.check(x.features.device)
        table = {} if known is None else {KEY: known}
        native = self._package.SparseConvTensor(
            x.features, x.indices, list(x.spatial_shape), x.batch_size, indice_dict=table
        )
        layer = self._layer(kind, geometry, weight)
        # in evaluation mode the package leaves out gradients, and the half of the map that they need
        layer.train(torch.is_grad_enabled())
        out = torch.func.functional_call(layer, {"weight": weight}, (native,))
        return out, out.indice_dict[KEY]

    def _layer(self, kind: str, geometry: Geometry, weight: Tensor) -> nn.Module:
        """The package's layer, without weights of its own."""
        key = kind, geometry, weight.shape[-1], weight.shape[0]
        if key not in self._layers:
            options: dict[str, Any] = {"bias": False, "indice_key": KEY}
            if kind != "SparseInverseConv3d":
                options |= {"dilation": list(geometry.dilation)}
            if kind == "SparseConv3d":
                options |= {"stride": list(geometry.stride), "padding": list(geometry.padding)}
            with torch.device("meta"):
                make = getattr(self._package, kind)
                self._layers[key] = make(weight.shape[-1], weight.shape[0], list(geometry.kernel), **options)
        return self._layers[key]


def _zeros(x: SparseTensor, weight: Tensor, rows: int) -> Tensor:
    """Output (rows, D) of an input without rows; the gradients of all weights are zero and not missing."""
    none = x.features @ weight.flatten(1, 3).sum(1).T.to(x.features.dtype)
    return torch.cat([none, none.new_zeros(rows, none.shape[1])])
