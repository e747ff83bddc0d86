"""Small crops of views, for multi-crop objectives (Caron et al., SwAV, NeurIPS 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch


def small_views(
    batch: ViewBatch,
    count: int,
    size: int,
    scale: tuple[float, float],
    normalise: Callable[[Tensor], Tensor],
    sources: Sequence[int],
) -> list[Tensor]:
    """Return the small crops of a batch, (B, 3, s, s) each and ready for the encoder.

    Rendered views have no image of their own: crops are taken from them.

    Args:
        batch: with small crops that were cut out of the images, or None.
        count: how many of each object.
        size: side of crops that are cut here.
        scale: their share of a view's area.
        normalise: what makes images ready.
        sources: views that they are cut from, in turn.

    Raises:
        ValueError: where the batch brings another number of them.
    """
    if batch.small_crops is None:
        views = [normalise(batch.images[:, sources[crop % len(sources)]]) for crop in range(count)]
        return [random_resized_crops(view, size, scale) for view in views]
    if batch.small_crops.shape[1] != count:
        raise ValueError(f"expected {count} small crops each, got {batch.small_crops.shape[1]}")
    return [normalise(crop) for crop in batch.small_crops.unbind(1)]


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
