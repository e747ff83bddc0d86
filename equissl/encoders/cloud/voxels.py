"""The sparse voxel encoder on clouds of single objects."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.encoders.cloud.base import Cloud, CloudEncoder
from equissl.encoders.voxel import VoxelEncoderConfig, locate_points


class VoxelCloudEncoder(CloudEncoder):
    """`VoxelEncoder` on a cube about the cloud; a point's local feature is its column of the bird's-eye view.

    The vector is the mean and the maximum over points, so a column counts as often as it has points.

    Args:
        resolution: voxels along each side of the cube, at least 24.
        backbone, backend: as in `VoxelEncoderConfig`.
        normals, colours: as in `CloudEncoder`; they are more columns of a point.

    Raises:
        ValueError: for a lower resolution or an unknown backbone.
    """

    def __init__(
        self,
        resolution: int = 64,
        backbone: str = "VoxelBackBone8x",
        backend: str = "auto",
        normals: bool = False,
        colours: bool = False,
    ) -> None:
        super().__init__(normals, colours)
        size = 2 / resolution if resolution > 0 else 0.0
        config = VoxelEncoderConfig(
            backbone=backbone,
            point_range=(-1.0, -1.0, -1.0, 1.0, 1.0, 1.0),
            voxel_size=(size, size, size),
            max_points=None,
            backend=backend,
            in_channels=self.in_channels,
            norm_momentum=0.1,
        )
        self.encoder = config.build()
        self.token_dim = self.encoder.feature_dim
        self.feature_dim = 2 * self.token_dim

    def tokens(self, cloud: Cloud) -> Tensor:
        # the farthest point lies just inside of the cube
        reach = cloud.points.norm(dim=2).amax(dim=1).clamp(min=1e-6)[:, None, None]
        columns = torch.cat([0.999 * cloud.points / reach, cloud.columns()[..., 3:]], dim=2)
        features = self.encoder(list(columns.unbind(0)))
        rows = locate_points(features.bev, features.voxels)
        return features.bev.features[rows].unflatten(0, columns.shape[:2])

    def pool(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens.mean(dim=1), tokens.amax(dim=1)], dim=1)
