"""Augmentations of many images at once, each with parameters of its own. Images are float, (n, 3, H, W) in [0, 1].

They compute what torchvision's transforms of single images do, which the tests hold them against. torchvision's own
functions take one set of parameters for a whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from equissl.datasets.images.sources import Images

GRAY = (0.2989, 0.587, 0.114)
_DENSE = 128  # pixels of a side up to which products with banded matrices are faster than one call for each image
_BICUBIC = InterpolationMode.BICUBIC


def crop_resize(images: Images, boxes: Tensor, size: int) -> Tensor:
    """Crop and resize uint8 images, bicubic with antialiasing.

    Args:
        images: (n, 3, H, W) uint8, or n images of several sizes.
        boxes: (n, 4) top, left, height, width in whole pixels, inside the image.
        size: side of the results.

    Returns:
        (n, 3, size, size) in [0, 1].
    """
    if not isinstance(images, Tensor):
        return _crop_by_size(images, boxes, size)
    if max(images.shape[2:]) <= _DENSE:
        return crop_resize_together(images.float() / 255, boxes, size)
    pairs = zip(images, boxes.tolist(), strict=True)
    return torch.stack([resized_crop(x, *box, [size, size], _BICUBIC, antialias=True) for x, box in pairs]) / 255


def _crop_by_size(images: list[Tensor], boxes: Tensor, size: int) -> Tensor:
    """Images of one size together: how one is resized depends on its own size and not on its company."""
    out = torch.empty(len(images), 3, size, size)
    for shape in {tuple(image.shape) for image in images}:
        rows = [row for row, image in enumerate(images) if tuple(image.shape) == shape]
        out[rows] = crop_resize(torch.stack([images[row] for row in rows]), boxes[rows], size)
    return out


def crop_resize_together(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop and resize images of one size, all boxes at once.

    Two products with banded matrices, one for rows and one for columns.

    Args:
        images: (n, 3, H, W) in [0, 1].
        boxes: (n, 4) top, left, height and width in pixels.
        size: side of the crops.
    """
    top, left, height, width = boxes.to(images.dtype).unbind(1)
    rows = resampling(top, height, size, images.shape[2])
    columns = resampling(left, width, size, images.shape[3])
    resized = rows.unsqueeze(1) @ images @ columns.mT.unsqueeze(1)
    return resized.clamp(0, 1)


def resampling(start: Tensor, length: Tensor, out: int, size: int) -> Tensor:
    """Compute the weights (n, out, size) of pixels in those of a resized crop.

    Args:
        start: (n,) first pixel of each crop.
        length: (n,) pixels of each crop.
        out: pixels after resizing.
        size: pixels of the whole image.
    """
    scale = (length / out).clamp_min(1)
    places = torch.arange(out, dtype=start.dtype, device=start.device)
    pixels = torch.arange(size, dtype=start.dtype, device=start.device)
    centres = start[:, None] + (places + 0.5) * (length / out)[:, None]
    weights = _cubic((pixels + 0.5 - centres[..., None]) / scale[:, None, None])
    inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
    weights = weights * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def _cubic(x: Tensor, a: float = -0.5) -> Tensor:
    """Keys' kernel, with the value of a that Pillow takes."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def gray(images: Tensor) -> Tensor:
    """Return gray images (n, 1, H, W)."""
    weights = images.new_tensor(GRAY).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale images.

    Args:
        images: (n, 3, H, W) in [0, 1].
        factor: (n,).
    """
    return (images * _each(factor)).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance of images from the mean of their gray values.

    Args:
        images: (n, 3, H, W) in [0, 1].
        factor: (n,).
    """
    mean = gray(images).mean((1, 2, 3), keepdim=True)
    return (mean + _each(factor) * (images - mean)).clamp(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance of images from their gray ones.

    Args:
        images: (n, 3, H, W) in [0, 1].
        factor: (n,).
    """
    plain = gray(images)
    return (plain + _each(factor) * (images - plain)).clamp(0, 1)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images.

    Args:
        images: (n, 3, H, W) in [0, 1].
        turns: (n,) share of the colour circle.
    """
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    span = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    r, g, b = images.unbind(1)
    sector = torch.where(value == r, (g - b) / span, torch.where(value == g, 2 + (b - r) / span, 4 + (r - g) / span))
    turned = sector + 6 * turns.view(-1, 1, 1)
    k = (images.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1) + turned.unsqueeze(1)) % 6
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Blur images with a Gaussian; borders are reflected.

    Args:
        images: (n, 3, H, W).
        sigma: (n,) deviation in pixels.
        kernel: pixels after which it is cut off.
    """
    half = kernel // 2
    places = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (places / sigma.unsqueeze(1)).square())
    weights = (weights / weights.sum(1, keepdim=True)).view(-1, 1, 1, 1, kernel)
    images = (F.pad(images, (half, half, 0, 0), mode="reflect").unfold(3, kernel, 1) * weights).sum(-1)
    return (F.pad(images, (0, 0, half, half), mode="reflect").unfold(2, kernel, 1) * weights).sum(-1)


def solarize(images: Tensor, threshold: float = 128 / 255) -> Tensor:
    """Invert values from a threshold on.

    Args:
        images: in [0, 1].
        threshold: lowest value that is inverted.
    """
    return torch.where(images >= threshold, 1 - images, images)


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
