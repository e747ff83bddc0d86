"""Sparse encoders of point clouds, and their bird's-eye view."""

from equissl.encoders.voxel.backbone import (
    VOXEL_BACKBONES,
    VoxelBackBone8x,
    VoxelFeatures,
    VoxelResBackBone8x,
    create_voxel_backbone,
)
from equissl.encoders.voxel.bev import bev_columns, compress_height
from equissl.encoders.voxel.encoder import SweepFeatures, VoxelEncoder, VoxelEncoderConfig
from equissl.encoders.voxel.lookup import locate, locate_points

__all__ = [
    "VOXEL_BACKBONES",
    "SweepFeatures",
    "VoxelBackBone8x",
    "VoxelEncoder",
    "VoxelEncoderConfig",
    "VoxelFeatures",
    "VoxelResBackBone8x",
    "bev_columns",
    "compress_height",
    "create_voxel_backbone",
    "locate",
    "locate_points",
]
