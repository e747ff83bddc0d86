"""Saliency maps: probabilities over the pixels of an image that a fixation falls there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.util.registry import Registry


class Saliency(Protocol):
    """Distribution of fixations over an image."""

    def __call__(self, images: Tensor, indices: np.ndarray) -> Tensor:
        """Maps (B, H, W) float64, each summing to 1.

        Args:
            images: (B, 3, H, W) uint8.
            indices: (B,) their positions in the split.
        """


class Uniform:
    """Everywhere alike."""

    def __call__(self, images: Tensor, indices: np.ndarray) -> Tensor:
        batch, _, height, width = images.shape
        return torch.full((batch, height, width), 1 / (height * width), dtype=torch.float64)


class CentreBias:
    """A Gaussian around the middle, which people look at first.

    Args:
        deviation: as a share of each side.
    """

    def __init__(self, deviation: float = 0.25) -> None:
        if deviation <= 0:
            raise ValueError(f"expected a deviation above 0, got {deviation}")
        self.deviation = deviation

    def __call__(self, images: Tensor, indices: np.ndarray) -> Tensor:
        height, width = images.shape[2:]
        rows, columns = (self._bell(side) for side in (height, width))
        return normalised((rows[:, None] * columns).expand(len(images), height, width))

    def _bell(self, side: int) -> Tensor:
        places = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
        return torch.exp(-0.5 * (places / self.deviation).square())


class SpectralResidual:
    """Residual of the average spectrum of an image (Hou and Zhang 2007), with a centre bias.

    Args:
        side: images are looked at this small, as published.
        smooth: deviation of the final blur, in pixels of the small image.
        centre: deviation of the centre bias; None for none.
    """

    def __init__(self, side: int = 64, smooth: float = 2.5, centre: float | None = 0.35) -> None:
        self.side, self.smooth = side, smooth
        self.centre = None if centre is None else CentreBias(centre)

    def __call__(self, images: Tensor, indices: np.ndarray) -> Tensor:
        size = images.shape[2:]
        gray = images.double().mean(1, keepdim=True)
        small = F.interpolate(gray, (self.side, self.side), mode="bilinear", antialias=True)
        spectrum = torch.fft.fft2(small)
        log = spectrum.abs().clamp_min(1e-12).log()
        residual = log - F.avg_pool2d(F.pad(log, (1, 1, 1, 1), mode="circular"), 3, 1)
        salient = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs().square()
        smooth = _smooth(salient, self.smooth)
        found = normalised(F.interpolate(smooth, size, mode="bilinear").clamp_min(0)[:, 0])
        return found if self.centre is None else normalised(found * self.centre(images, indices))


class Precomputed:
    """Maps from a file, such as those of a trained model of fixations.

    Args:
        path: ``.npy`` array (N, H, W) of probabilities or densities, in the order of the split's images; it is mapped
            into memory, not read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.maps = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if self.maps.ndim != 3:
            raise ValueError(f"{self.path}: expected maps (N, H, W), found shape {self.maps.shape}")

    def __call__(self, images: Tensor, indices: np.ndarray) -> Tensor:
        if len(indices) and indices.max() >= len(self.maps):
            raise ValueError(f"{self.path}: expected a map for image {indices.max()}, found {len(self.maps)} maps")
        maps = torch.from_numpy(np.ascontiguousarray(self.maps[indices])).double()
        if not bool((maps >= 0).all()) or not bool((maps.flatten(1).sum(1) > 0).all()):
            raise ValueError(f"{self.path}: expected maps of values from 0 on that are not all 0")
        if maps.shape[1:] != images.shape[2:]:
            maps = F.interpolate(maps[:, None], tuple(images.shape[2:]), mode="bilinear")[:, 0]
        return normalised(maps)


SALIENCY: Registry[Callable[..., Saliency]] = Registry(
    "saliency",
    {"spectral_residual": SpectralResidual, "centre": CentreBias, "uniform": Uniform},
    group="equissl.saliency",
)


def get_saliency(name: str) -> Saliency:
    """Make a provider of saliency maps.

    Args:
        name: ``spectral_residual``, ``centre``, ``uniform``, an import path, or the path of a ``.npy`` file.

    Raises:
        ValueError: for another name.
    """
    if name.endswith(".npy"):
        return Precomputed(name)
    return SALIENCY[name]()


def normalised(maps: Tensor) -> Tensor:
    """Each (H, W) of (B, H, W) divided by its sum."""
    return maps / maps.sum((1, 2), keepdim=True)


def _smooth(maps: Tensor, deviation: float) -> Tensor:
    half = int(3 * deviation) + 1
    places = torch.arange(-half, half + 1, dtype=maps.dtype)
    bell = torch.exp(-0.5 * (places / deviation).square())
    bell = bell / bell.sum()
    maps = F.conv2d(F.pad(maps, (half, half, 0, 0), mode="replicate"), bell.view(1, 1, 1, -1))
    return F.conv2d(F.pad(maps, (0, 0, half, half), mode="replicate"), bell.view(1, 1, -1, 1))
