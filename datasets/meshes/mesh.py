"""Decoded mesh that sources give and renderers take."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class MeshError(Exception):
    """A mesh that cannot be used: empty, not finite, without extent or unreadable. The message carries its name."""


def without_name(message: str, name: str) -> str:
    """Remove the mesh's name from the start of an error's message, for lists that name it themselves.

    Args:
        message: ``NAME: reason``, ``mesh 'NAME': reason``, or the reason alone.
        name: of the mesh.
    """
    return message.removeprefix(f"{name}: ").removeprefix(f"mesh {name!r}: ")


@dataclass(frozen=True, eq=False)
class Material:
    """Surface of a group of faces.

    Attributes:
        diffuse: Linear RGB in [0, 1], shape (3,) float32. Not used where ``texture`` is given.
        texture: uint8 sRGB image (H, W, 3), first row at the top, or None. It replaces ``diffuse``.
        specular: Strength of the specular reflection in [0, 1] (MTL ``Ks``, mean of its channels).
        roughness: In [0, 1]; from the Phong exponent as ``1 - sqrt(Ns) / 30``.
        alpha: Opacity in [0, 1]; 1 is opaque (MTL ``d``).
        name: Name in the file, for messages.
    """

    diffuse: np.ndarray = field(default_factory=lambda: np.full(3, 0.8, np.float32))
    texture: np.ndarray | None = None
    specular: float = 0.0
    roughness: float = 0.5
    alpha: float = 1.0
    name: str = ""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh with materials; z is up.

    Attributes:
        vertices: (N, 3) float32; float64 as a reader gives it, until the mesh is centred: scans and city models lie
            millions of their sizes away from the origin.
        faces: (M, 3) int32 indices into ``vertices``.
        face_material: (M,) int32 indices into ``materials``.
        corner_uv: (M, 3, 2) float32 texture coordinates of each face corner, v upwards, or None.
        corner_normals: (M, 3, 3) float32 unit normals of each face corner, or None (use the face's own normal).
        corner_colours: (M, 3, 3) float32 linear RGB of each face corner that multiplies its material's ``diffuse`` or
            ``texture``, or None (white).
        materials: At least one.
        name: For messages.
        warnings: What was missing or repaired when it was read, one sentence each.
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_material: np.ndarray
    corner_uv: np.ndarray | None
    corner_normals: np.ndarray | None
    materials: tuple[Material, ...]
    name: str = ""
    warnings: tuple[str, ...] = ()
    corner_colours: np.ndarray | None = None

    @property
    def bounds(self) -> np.ndarray:
        """Lowest and highest corner of the bounding box, (2, 3)."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def face_normals(self) -> np.ndarray:
        """Compute the unit normals (M, 3) by the right-hand rule; zero for a face without area."""
        corners = self.vertices[self.faces].astype(np.float64)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0).astype(np.float32)
