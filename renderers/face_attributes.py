"""Attributes of a mesh's faces in one row each, for the colour and the normal of any point on them."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.materials import collect_textures


class FaceAttributes:
    """Attributes of the M faces of a mesh.

    Attributes:
        face_records: (M, 15, 21 or 30) float32: face normal, three corner normals, albedo, [corner texture coordinates,
            [corner colours]].
        face_material: (M,) int32.
        textures: see :class:`~equissl.renderers.materials.Textures`, or None.
        coloured: True where corner colours multiply the albedo.
    """

    NORMAL, CORNER_NORMALS, ALBEDO, UV, COLOURS = slice(0, 3), slice(3, 12), slice(12, 15), slice(15, 21), slice(21, 30)

    def __init__(self, mesh: Mesh) -> None:
        self.face_material = np.ascontiguousarray(mesh.face_material, np.int32)
        self.textures = collect_textures(mesh)
        self.face_records = _face_records(mesh, self.textures is not None)
        self.coloured = mesh.corner_colours is not None


def _face_records(mesh: Mesh, textured: bool) -> np.ndarray:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.tile([0.0, 0.0, 1.0], (len(normal), 1)), where=length > 0)
    corner_normals = np.repeat(normal[:, None], 3, axis=1)
    if mesh.corner_normals is not None:
        # A missing normal is stored as zero by some exporters; the face's own stands in.
        usable = np.isfinite(mesh.corner_normals).all(-1) & (np.abs(mesh.corner_normals).sum(-1) > 1e-6)
        corner_normals[usable] = mesh.corner_normals[usable]
    albedo = np.stack([np.asarray(m.diffuse, np.float64) for m in mesh.materials])[mesh.face_material]
    parts = [normal, corner_normals.reshape(-1, 9), albedo]
    if textured and mesh.corner_uv is not None:
        parts.append(np.nan_to_num(mesh.corner_uv.reshape(-1, 6)))
    elif mesh.corner_colours is not None:
        parts.append(np.zeros((len(mesh.faces), 6)))
    if mesh.corner_colours is not None:
        parts.append(mesh.corner_colours.reshape(-1, 9))
    return np.concatenate(parts, axis=1).astype(np.float32)
