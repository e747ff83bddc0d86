"""Interface of image encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Found = TypeVar("Found")


class Encoder(nn.Module, ABC):
    """Encoder of images to a feature map, and of that to one vector.

    Attributes:
        feature_dim: size D of the pooled vector.
        probe_size: side in pixels of a square image that it takes.
    """

    feature_dim: int
    probe_size: int = 64

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, H, W) to a map (N, C, h, w)."""

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images (N, 3, H, W) to the maps of its stages, fine to coarse; `feature_map` is the last.

        An encoder without stages has that one alone.
        """
        return [self.feature_map(images)]

    def encode_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode normalised images (N, 3, H, W) to vectors (N, D) and the maps of the stages, in one pass."""
        maps = self.stage_maps(images)
        return self.pool(maps[-1]), maps

    def pool(self, feature_map: Tensor) -> Tensor:
        """Map (N, C, h, w) to vectors (N, D): the mean over positions."""
        return feature_map.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, H, W) to vectors (N, D)."""
        return self.pool(self.feature_map(images))

    def map_shape(self, image_size: int) -> tuple[int, int]:
        """Compute channels and side (C, s) of the square map of a square image of ``image_size`` pixels.

        Found by running one black image in evaluation mode, so that it holds for any backbone.
        """
        found = self._probe(self.feature_map, image_size)
        return found.shape[1], found.shape[2]

    def stage_shapes(self, image_size: int) -> list[tuple[int, int]]:
        """Compute what `map_shape` does, of every map of `stage_maps`."""
        return [(found.shape[1], found.shape[2]) for found in self._probe(self.stage_maps, image_size)]

    def stage_channels(self) -> list[int]:
        """Compute the channels of every map of `stage_maps`."""
        return [channels for channels, _ in self.stage_shapes(self.probe_size)]

    @torch.no_grad()
    def _probe(self, encode: Callable[[Tensor], Found], image_size: int) -> Found:
        """Encode a black image by one of the functions above, in evaluation mode."""
        parameter = next(self.parameters())
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            return encode(parameter.new_zeros(1, 3, image_size, image_size))
        finally:
            for module in training:
                module.training = True
