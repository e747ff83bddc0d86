"""Objects as peaks of maps (CenterNet, Zhou et al., 2019; CenterPoint, Yin et al., CVPR 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OVERLAP = 0.1  # with the object that a box shifted by the radius still has
SMALLEST = 2  # cells of radius


def gaussian_radii(size: tuple[float, float], overlap: float = OVERLAP) -> tuple[float, float, float]:
    """Compute shifts of a box's corners that leave an overlap (intersection over union), in CornerNet's three cases.

    Args:
        size: size of the object, in cells.
        overlap: that is to be left.

    Returns:
        both corners shifted the same way, both inward, both outward.
    """
    a, b = size
    r1 = (a + b + math.sqrt((a + b) ** 2 - 4 * a * b * (1 - overlap) / (1 + overlap))) / 2
    r2 = (2 * (a + b) + math.sqrt(4 * (a + b) ** 2 - 16 * (1 - overlap) * a * b)) / 2
    r3 = (-2 * overlap * (a + b) + math.sqrt(4 * overlap**2 * (a + b) ** 2 + 16 * overlap * (1 - overlap) * a * b)) / 2
    return r1, r2, r3


def gaussian_radius(size: tuple[float, float]) -> int:
    """Compute the radius in cells of an object's peak."""
    return max(SMALLEST, int(min(gaussian_radii(size))))


def draw_peak(heatmap: Tensor, cell: tuple[int, int], radius: int) -> None:
    """Raise a map (Y, X) to a Gaussian of that radius about a cell (y, x), where it is lower.

    Args:
        heatmap: (Y, X), changed in place.
        cell: (y, x).
        radius: in cells.
    """
    sigma = (2 * radius + 1) / 6
    y0, x0 = cell
    y = torch.arange(max(0, y0 - radius), min(heatmap.shape[0], y0 + radius + 1), device=heatmap.device)
    x = torch.arange(max(0, x0 - radius), min(heatmap.shape[1], x0 + radius + 1), device=heatmap.device)
    square = (y[:, None] - y0) ** 2 + (x[None] - x0) ** 2
    part = heatmap[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    torch.maximum(part, torch.exp(-square / (2 * sigma**2)).to(heatmap), out=part)
