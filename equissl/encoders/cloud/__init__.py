"""Encoders of point clouds of single objects."""

from equissl.encoders.cloud.base import Cloud, CloudEncoder
from equissl.encoders.cloud.config import CLOUD_ENCODERS, CloudEncoderConfig
from equissl.encoders.cloud.equivariant import EquivariantCloudEncoder
from equissl.encoders.cloud.neighbours import choose_centres, farthest_points, nearest
from equissl.encoders.cloud.point_transformer import PointTransformer
from equissl.encoders.cloud.pointnet import PointNet
from equissl.encoders.cloud.voxels import VoxelCloudEncoder

__all__ = [
    "CLOUD_ENCODERS",
    "Cloud",
    "CloudEncoder",
    "CloudEncoderConfig",
    "EquivariantCloudEncoder",
    "PointNet",
    "PointTransformer",
    "VoxelCloudEncoder",
    "choose_centres",
    "farthest_points",
    "nearest",
]
