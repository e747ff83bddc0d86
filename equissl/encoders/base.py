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

    def pool(self, feature_map: Tensor) -> Tensor:
        """Map (N, C, h, w) to vectors (N, D): the mean over positions."""
        return feature_map.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, H, W) to vectors (N, D)."""
        return self.pool(self.feature_map(images))

    @torch.no_grad()
    def map_shape(self, image_size: int) -> tuple[int, int]:
        """Compute channels and side (C, s) of the square map of a square image of ``image_size`` pixels.

        Found by running one black image in evaluation mode, so that it holds for any backbone.
        """
        parameter = next(self.parameters())
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            shape = self.feature_map(parameter.new_zeros(1, 3, image_size, image_size)).shape
        finally:
            for module in training:
                module.training = True
        return shape[1], shape[2]
