"""PointNet (Qi et al., CVPR 2017, arXiv 1612.00593): one network for every point, and the maximum over points."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from equissl.encoders.cloud.base import Cloud, CloudEncoder


class PointNet(CloudEncoder):
    """Shared layers of widths w, w, w, 2w and 16w with BatchNorm and ReLU, as in the paper for w = 64.

    The paper's networks that turn input and features (T-Nets) are left out. The order of the points does not matter;
    rotations do.

    Args:
        width: w.
        normals, colours: as in `CloudEncoder`.

    Raises:
        ValueError: for a width below 1.
    """

    def __init__(self, width: int = 64, normals: bool = False, colours: bool = False) -> None:
        super().__init__(normals, colours)
        if width < 1:
            raise ValueError(f"expected a width of at least 1, got {width}")
        self.feature_dim = self.token_dim = 16 * width
        widths = (self.in_channels, width, width, width, 2 * width, self.feature_dim)
        self.layers = nn.Sequential(*(_layer(*pair) for pair in pairwise(widths)))

    def tokens(self, cloud: Cloud) -> Tensor:
        x = cloud.columns()
        return self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.amax(dim=1)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))
