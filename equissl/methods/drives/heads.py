"""Small networks on the sites and on the pooled features of sweeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equissl.losses import all_reduce_mean, world_size


class SiteHead(nn.Sequential):
    """Linear, batch norm and ReLU for each size but the last, then one linear layer; on the sites (N, C) of a batch.

    A batch without a pair of sites has no statistics: the running ones then stand in.

    Args:
        dim: C.
        sizes: sizes of the layers; the projector of the contrast and flow objectives has (256, 128).

    Raises:
        ValueError: for no size, or one that is not positive.
    """

    def __init__(self, dim: int, sizes: Sequence[int]) -> None:
        _check_sizes(sizes)
        layers: list[nn.Module] = []
        for width in sizes[:-1]:
            layers += [nn.Linear(dim, width), nn.BatchNorm1d(width), nn.ReLU()]
            dim = width
        super().__init__(*layers, nn.Linear(dim, sizes[-1]))
        self.out_dim = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or _rows_of_all_processes(x) >= 2:
            return super().forward(x)
        self.eval()
        try:
            return super().forward(x)
        finally:
            self.train()


class PooledHead(nn.Sequential):
    """Linear, layer norm and ReLU for each hidden size, then one linear layer; on one vector (B, C) of each sweep.

    Args:
        dim: C.
        hidden: sizes of the hidden layers, (256, 256) by default in E-SSL3D.
        outputs: size of the output.

    Raises:
        ValueError: for a size that is not positive.
    """

    def __init__(self, dim: int, hidden: Sequence[int], outputs: int) -> None:
        _check_sizes([*hidden, outputs])
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(dim, width), nn.LayerNorm(width), nn.ReLU()]
            dim = width
        super().__init__(*layers, nn.Linear(dim, outputs))


def _check_sizes(sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 1:
        raise ValueError(f"expected at least one size, all of them positive, got {list(sizes)}")


def _rows_of_all_processes(x: Tensor) -> int:
    if world_size() == 1:
        return len(x)
    return round(float(all_reduce_mean(torch.tensor(float(len(x)), device=x.device))) * world_size())
