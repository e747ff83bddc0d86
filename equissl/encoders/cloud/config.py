"""Encoders of point clouds by name, and their config."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from equissl.encoders.cloud.base import CloudEncoder
from equissl.util.registry import Registry, check_options

CLOUD_ENCODERS: Registry[type[CloudEncoder]] = Registry(
    "cloud encoder",
    {
        "pointnet": "equissl.encoders.cloud.pointnet:PointNet",
        "point_transformer": "equissl.encoders.cloud.point_transformer:PointTransformer",
        "equivariant": "equissl.encoders.cloud.equivariant:EquivariantCloudEncoder",
        "voxel": "equissl.encoders.cloud.voxels:VoxelCloudEncoder",
    },
    group="equissl.cloud_encoders",
    base=CloudEncoder,
)


@dataclass(frozen=True)
class CloudEncoderConfig:
    """Name and options of an encoder of point clouds.

    Attributes:
        name: ``pointnet``, ``point_transformer``, ``equivariant``, ``voxel``, or the import path of a subclass of
            `CloudEncoder`.
        normals: read the normals of the points.
        colours: read the colours of the points.
        options: further arguments of the encoder: ``{irreps: 32x1e+32x2e, width: 16}``.
    """

    name: str = "equivariant"
    normals: bool = False
    colours: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> CloudEncoder:
        """Create the encoder with fresh weights.

        Raises:
            ValueError: for an unknown name, or an option that the encoder does not have.
        """
        make = CLOUD_ENCODERS[self.name]
        known = inspect.signature(make).parameters.keys() - {"normals", "colours"}
        check_options(f"cloud encoder {self.name!r}", self.options, known)
        return make(normals=self.normals, colours=self.colours, **self.options)
