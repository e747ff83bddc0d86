"""A small transformer on groups of points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.encoders.cloud.base import Cloud, CloudEncoder
from equissl.encoders.cloud.neighbours import Centres, choose_centres, nearest, take


class PointTransformer(CloudEncoder):
    """Centres, the nearest points of each as one token, and attention between the tokens.

    The groups and their small PointNet are those of Point-BERT (Yu et al., CVPR 2022, arXiv 2111.14819), at a smaller
    size; norms are LayerNorm, so that clouds of a batch do not see each other.

    Args:
        width: D, of tokens and of the vector.
        layers: of the transformer.
        heads: of its attention; they share the width evenly.
        centres: number of tokens, see `choose_centres`.
        neighbours: points of a group.
        choice: of the centres.
        normals, colours: as in `CloudEncoder`.

    Raises:
        ValueError: for sizes below 1, or heads that do not divide the width.
    """

    def __init__(
        self,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        centres: int = 64,
        neighbours: int = 16,
        choice: Centres = "spread",
        normals: bool = False,
        colours: bool = False,
    ) -> None:
        super().__init__(normals, colours)
        if min(width, layers, heads, centres, neighbours) < 1 or width % heads:
            raise ValueError(
                "expected sizes of at least 1 and heads that divide the width, got "
                f"{width=}, {layers=}, {heads=}, {centres=}, {neighbours=}"
            )
        self.feature_dim = self.token_dim = width
        self.centres, self.fewest_points, self.choice = centres, neighbours, choice
        self.point = nn.Sequential(nn.Linear(self.in_channels, width), nn.GELU(), nn.Linear(width, width))
        self.group = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.place = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def tokens(self, cloud: Cloud) -> Tensor:
        chosen = choose_centres(cloud.points, self.centres, self.choice)
        places = take(cloud.points, chosen)
        x = self._groups(cloud, places) + self.place(places)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)

    def _groups(self, cloud: Cloud, places: Tensor) -> Tensor:
        """(N, M, D): the points about a centre, seen from it, by a PointNet that shows them their maximum half-way."""
        around = nearest(places, cloud.points, self.fewest_points)
        columns = take(cloud.columns(), around)
        x = self.point(torch.cat([columns[..., :3] - places[:, :, None], columns[..., 3:]], dim=3))
        whole = x.amax(dim=2, keepdim=True).expand_as(x)
        return self.group(torch.cat([x, whole], dim=3)).amax(dim=2)
