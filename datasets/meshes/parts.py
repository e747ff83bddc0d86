"""Meshes made of parts, and normals that can be used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equissl.datasets.meshes.mesh import Mesh, MeshError


def join_meshes(parts: Sequence[Mesh], name: str) -> Mesh:
    """Join meshes to one; materials that they share stay shared, and a warning that several have is given once.

    Args:
        parts: at least one.
        name: name of the whole.

    Raises:
        MeshError: where there are none.
    """
    if not parts:
        raise MeshError(f"{name}: empty mesh (no faces)")
    vertex_start = np.cumsum([0, *(len(p.vertices) for p in parts)])
    materials = {id(m): m for p in parts for m in p.materials}
    number = {key: i for i, key in enumerate(materials)}
    face_material = [np.array([number[id(m)] for m in p.materials], np.int32)[p.face_material] for p in parts]
    has_uv = any(p.corner_uv is not None for p in parts)
    has_normals = any(p.corner_normals is not None for p in parts)
    has_colours = any(p.corner_colours is not None for p in parts)
    return Mesh(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate([p.faces + s for p, s in zip(parts, vertex_start, strict=False)]).astype(np.int32),
        face_material=np.concatenate(face_material),
        corner_uv=np.concatenate([_uv_or_zero(p) for p in parts]) if has_uv else None,
        corner_normals=np.concatenate([_normals_or_flat(p) for p in parts]) if has_normals else None,
        materials=tuple(materials.values()),
        name=name,
        warnings=tuple(dict.fromkeys(w for p in parts for w in p.warnings)),
        corner_colours=np.concatenate([_colours_or_white(p) for p in parts]) if has_colours else None,
    )


def _uv_or_zero(mesh: Mesh) -> np.ndarray:
    return np.zeros((len(mesh.faces), 3, 2), np.float32) if mesh.corner_uv is None else mesh.corner_uv


def _normals_or_flat(mesh: Mesh) -> np.ndarray:
    if mesh.corner_normals is not None:
        return mesh.corner_normals
    return np.repeat(mesh.face_normals()[:, None], 3, axis=1)


def _colours_or_white(mesh: Mesh) -> np.ndarray:
    return np.ones((len(mesh.faces), 3, 3), np.float32) if mesh.corner_colours is None else mesh.corner_colours


def unit_normals(rows: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Scale corner normals (M, 3, 3) to length 1; the face's own stands in for those that are zero or not finite.

    Args:
        rows: normals of the corners, of any length.
        mesh: their faces.
    """
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    good = np.isfinite(length) & (length > 1e-6)
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=good).astype(np.float32)
    return unit if good.all() else np.where(good, unit, mesh.face_normals()[:, None, :])
