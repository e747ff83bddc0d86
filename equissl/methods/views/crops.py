"""Small crops of views, for multi-crop objectives (Caron et al., SwAV, NeurIPS 2020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_resized_crops(
    images: Tensor,
    size: int,
    scale: tuple[float, float] = (0.05, 0.14),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
) -> Tensor:
    """One random crop of each image, resized; where and how large is drawn for every image alone, on its device.

    Args:
        images: (N, C, H, W), floating point.
        size: side of the crops in pixels.
        scale: share of the image's area, drawn uniformly.
        ratio: width over height, drawn uniformly on a logarithmic scale.
        generator: source of the draws, on the images' device.

    Returns:
        (N, C, size, size), sampled bilinearly.
    """
    low, high = (math.log(r) for r in ratio)
    draws = torch.rand(4, len(images), generator=generator, device=images.device)
    area = scale[0] + draws[0] * (scale[1] - scale[0])
    aspect = (low + draws[1] * (high - low)).exp()
    extent = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1).clamp(max=1)  # of the image's sides
    centre = (2 * draws[2:].T - 1) * (1 - extent)
    theta = torch.cat([torch.diag_embed(extent), centre[:, :, None]], dim=2).to(images.dtype)
    grid = F.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
