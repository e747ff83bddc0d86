"""Point clouds of the surfaces of meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Arrays of a cloud of P points, each (P, 3), and their types in a file.
CLOUD_TYPES: dict[str, np.dtype] = {"points": np.dtype("<f4"), "normals": np.dtype("<f4"), "colours": np.dtype("u1")}


@dataclass(frozen=True, eq=False)
class Cloud:
    """P points of an object's surface, in the reference frame of its mesh.

    Attributes:
        points: (P, 3) float32.
        normals: (P, 3) float32, unit.
        colours: (P, 3) uint8 sRGB, without light.

    Raises:
        ValueError: for other shapes or types, or numbers that are not finite.
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self), 3)
        for name, dtype in CLOUD_TYPES.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"expected {name} of a cloud as {dtype} {shape}, got {array.dtype} {array.shape}")
            if not np.isfinite(array).all():
                bad = int((~np.isfinite(array)).any(axis=1).sum())
                raise ValueError(f"expected finite {name} of a cloud, got {bad} of {len(self)} that are not")

    def __len__(self) -> int:
        return len(self.points)
