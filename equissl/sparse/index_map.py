"""Index maps (rulebooks): pairs of input and output rows under each weight of a convolution's kernel."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.sparse.sites import Sites, Triple, key_sites, key_step, site_keys


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution, on which an index map depends beside the sites; all along z, y, x."""

    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    dilation: Triple = (1, 1, 1)

    @property
    def reach(self) -> Triple:
        """Half width of a kernel centred on a site."""
        z, y, x = (d * (k // 2) for d, k in zip(self.dilation, self.kernel, strict=True))
        return z, y, x

    def offsets(self, device: torch.device) -> Tensor:
        """Compute the offsets (K, 3) of the kernel's elements from its first, in the order of the weights."""
        steps = [range(0, k * d, d) for k, d in zip(self.kernel, self.dilation, strict=True)]
        return torch.tensor(list(itertools.product(*steps)), device=device)

    def output_shape(self, spatial_shape: Triple) -> Triple:
        """Compute the size of the strided convolution's output.

        Raises:
            ValueError: where the kernel is larger than the padded grid.
        """
        rows = zip(spatial_shape, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        z, y, x = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)
        if min(z, y, x) < 1:
            raise ValueError(f"expected a grid that holds the kernel of {self}, got the spatial shape {spatial_shape}")
        return z, y, x


@dataclass(frozen=True)
class Pairs:
    """Input and output rows joined by each of the kernel's K elements; in each, every row occurs at most once.

    Attributes:
        rows: (input rows, output rows) for each element; None for the one that joins every row to itself.
    """

    rows: tuple[tuple[Tensor, Tensor] | None, ...]

    @property
    def inverse(self) -> Pairs:
        """Input and output exchanged."""
        return Pairs(tuple(None if pair is None else pair[::-1] for pair in self.rows))


@dataclass(frozen=True)
class Origin:
    """Provenance of sites created by a strided convolution.

    Attributes:
        source: the sites before the strided convolution.
        geometry: geometry of that convolution.
        backend: name of the one that ran it.
        pairs: its index map, in that backend's form.
    """

    source: Sites
    geometry: Geometry
    backend: str
    pairs: Any


def submanifold_pairs(sites: Sites, geometry: Geometry) -> Pairs:
    """Find the pairs of a submanifold convolution: the output sites are the input's (Graham and van der Maaten, 2017).

    Computed for half of the kernel: site j seen by i under one element sees i under the opposite one.

    Args:
        sites: sites of the input.
        geometry: geometry of the convolution.
    """
    device, centre = sites.indices.device, torch.tensor(geometry.reach, device=sites.indices.device)
    offsets = geometry.offsets(device) - centre
    half = len(offsets) // 2
    keys = sites.keys(geometry.reach)[sites.order]
    wanted = keys + key_step(offsets[:half], sites.spatial_shape, geometry.reach)[:, None]
    place = torch.searchsorted(keys, wanted).clamp_(max=max(len(keys) - 1, 0))
    element, out_place = (keys[place] == wanted).nonzero(as_tuple=True)
    inputs, outputs = sites.order[place[element, out_place]], sites.order[out_place]
    first = _split(element, half, inputs, outputs)
    return Pairs((*first, None, *(pair[::-1] for pair in reversed(first))))


def strided_pairs(sites: Sites, geometry: Geometry) -> tuple[Tensor, Triple, Pairs]:
    """Find the pairs of a strided convolution: an output site is every position whose kernel covers an input site.

    Args:
        sites: sites of the input.
        geometry: geometry of the convolution.

    Returns:
        output indices (M, 4), sorted; the output's spatial shape; the pairs.
    """
    shape = geometry.output_shape(sites.spatial_shape)
    columns = sites.indices.long().unbind(1)
    axes = [
        _along(column, axis, size, geometry) for axis, (column, size) in enumerate(zip(columns[1:], shape, strict=True))
    ]
    (z, hit_z), (y, hit_y), (x, hit_x) = axes
    hits = hit_z[:, None, None] & hit_y[None, :, None] & hit_x[None, None]
    k, j, i, inputs = hits.nonzero(as_tuple=True)
    keys = site_keys(torch.stack([columns[0][inputs], z[k, inputs], y[j, inputs], x[i, inputs]], dim=1), shape)
    unique, outputs = torch.unique(keys, sorted=True, return_inverse=True)
    element = (k * geometry.kernel[1] + j) * geometry.kernel[2] + i
    return key_sites(unique, shape), shape, Pairs(_split(element, math.prod(geometry.kernel), inputs, outputs))


def _along(column: Tensor, axis: int, size: int, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Output positions (k, N) along one axis for each of the kernel's k elements, and where there is one."""
    kernel, stride, dilation = geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]
    steps = torch.arange(0, kernel * dilation, dilation, device=column.device)
    moved = column + geometry.padding[axis] - steps[:, None]  # stride times the output position
    position = moved.div(stride, rounding_mode="floor")
    return position, (position * stride == moved) & (position >= 0) & (position < size)


def _split(element: Tensor, count: int, inputs: Tensor, outputs: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    sizes = torch.bincount(element, minlength=count).tolist()
    return tuple(zip(inputs.split(sizes), outputs.split(sizes), strict=True))
