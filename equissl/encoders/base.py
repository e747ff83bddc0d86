"""Interface of image encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Encoder of images to a feature map, and of that to one vector.

    Attributes:
        feature_dim: size D of the pooled vector.
    """

    feature_dim: int

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, H, W) to a map (N, C, h, w)."""

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images (N, 3, H, W) to the maps of its stages, fine to coarse; `feature_map` is the last.

        An encoder without stages has that one alone.
        """
        return [self.feature_map(images)]

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
        return self.stage_shapes(image_size)[-1]

    @torch.no_grad()
    def stage_shapes(self, image_size: int) -> list[tuple[int, int]]:
        """Compute what `map_shape` does, of every map of `stage_maps`."""
        parameter = next(self.parameters())
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            maps = self.stage_maps(parameter.new_zeros(1, 3, image_size, image_size))
        finally:
            for module in training:
                module.training = True
        return [(found.shape[1], found.shape[2]) for found in maps]
