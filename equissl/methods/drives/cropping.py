"""Random parts of clouds."""

from __future__ import annotations

import torch
from torch import Tensor


def random_cuboid(cloud: Tensor, least: float, seed: int) -> Tensor:
    """Select the points (N, 3+) in an upright box about a random one of them.

    Args:
        cloud: (N, 3+).
        least: the box measures between this share and all of the cloud's extent, along x and along y.
        seed: seed of the draw.
    """
    if len(cloud) == 0:
        return cloud
    source = torch.Generator().manual_seed(seed)
    centre = cloud[int(torch.randint(len(cloud), (), generator=source)), :2]
    share = (least + (1 - least) * torch.rand(2, generator=source)).to(cloud)
    extent = cloud[:, :2].amax(0) - cloud[:, :2].amin(0)
    return cloud[((cloud[:, :2] - centre).abs() <= share * extent / 2).all(1)]


def drop_points(cloud: Tensor, most: float, seed: int) -> Tensor:
    """Drop a random share of the points.

    Args:
        cloud: (P, C).
        most: largest share.
        seed: seed of the draws.
    """
    source = torch.Generator().manual_seed(seed)
    share = most * torch.rand((), generator=source)
    return cloud[(torch.rand(len(cloud), generator=source) >= share).to(cloud.device)]
