"""Checks and the normalisation of 3DIEBench: bounding box centred at the origin, unit diagonal, z up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from equissl.datasets.meshes.mesh import Mesh, MeshError

#: What Blender's importer does with a y-up file, and so what 3DIEBench did with ShapeNet: (x, y, z) -> (x, -z, y).
#: ShapeNet's objects look along -z in their files, hence along +y, towards the scene's camera, afterwards.
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
#: Share of faces with corners that are not finite above which a mesh is damaged.
_MOST_NOT_FINITE = 0.01

Up = Literal["x", "y", "z"]
#: Rotation from a file's frame to z up, by the axis that points up in the file. An x-up file is turned about its y
#: axis, (x, y, z) -> (-z, y, x), as Blender's importers do with "Y forward, X up".
TO_Z_UP: dict[Up, np.ndarray | None] = {
    "x": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "y": Y_UP_TO_Z_UP,
    "z": None,
}


def rotate_mesh(mesh: Mesh, matrix: np.ndarray) -> Mesh:
    """Rotate positions, in float64, and normals (active, column vectors).

    Args:
        mesh: to rotate.
        matrix: (3, 3).
    """
    turned = np.asarray(matrix, np.float64).T
    normals = None if mesh.corner_normals is None else mesh.corner_normals @ turned.astype(np.float32)
    return replace(mesh, vertices=mesh.vertices @ turned, corner_normals=normals)


def check_faces(mesh: Mesh) -> None:
    """Raise MeshError, naming the mesh, where it has no faces or they use vertices that do not exist."""
    if len(mesh.faces) == 0 or len(mesh.vertices) == 0:
        raise MeshError(f"{mesh.name}: empty mesh ({len(mesh.vertices)} vertices, {len(mesh.faces)} faces)")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        span = f"{mesh.faces.min()}..{mesh.faces.max()}"
        raise MeshError(f"{mesh.name}: face indices {span} lie outside the {len(mesh.vertices)} vertices")


def drop_useless_faces(mesh: Mesh) -> Mesh:
    """Leave out faces that no pixel shows, so that they do not count for the bounding box.

    Those are faces without area, and up to one in a hundred with a corner that is not finite. A warning says how many
    of the latter there are, and whether the former reach farther than the rest.

    Raises:
        MeshError: where no face is left, or more corners are not finite.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    finite = np.isfinite(corners).all(axis=(1, 2))
    if np.mean(~finite) > _MOST_NOT_FINITE:
        bad = int((~np.isfinite(mesh.vertices)).any(axis=1).sum())
        raise MeshError(f"{mesh.name}: {bad} of {len(mesh.vertices)} vertices are not finite")
    kept = finite & _has_area(np.where(finite[:, None, None], corners, 0))
    if kept.all():
        return mesh
    if not kept.any():
        raise MeshError(f"{mesh.name}: none of the {len(kept)} faces has an area, the object has no extent")
    warnings = list(mesh.warnings)
    if not finite.all():
        warnings.append(f"{int((~finite).sum())} faces have corners that are not finite: left out")
    reach, rest = (np.ptp(corners[chosen].reshape(-1, 3), axis=0).max() for chosen in (finite, kept))
    if reach > 1.01 * rest:
        warnings.append(f"faces without area reach {reach / rest:.3g} times as far as the others: left out")
    return replace(keep_faces(mesh, kept), warnings=tuple(warnings))


def _has_area(corners: np.ndarray) -> np.ndarray:
    """True for faces (M, 3, 3) whose height is above a millionth of their longest side, or too large to tell."""
    sides = np.roll(corners, -1, axis=1) - corners
    longest = np.square(sides).sum(axis=-1).max(axis=1)
    twice_area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    return ~(twice_area <= 1e-6 * longest)


def keep_faces(mesh: Mesh, kept: np.ndarray) -> Mesh:
    """Keep some faces; vertices and materials stay.

    Args:
        mesh: with M faces.
        kept: (M,) True for those to keep.
    """
    of_corners = ("corner_uv", "corner_normals", "corner_colours")
    corners: dict[str, Any] = {name: None if (v := getattr(mesh, name)) is None else v[kept] for name in of_corners}
    return replace(mesh, faces=mesh.faces[kept], face_material=mesh.face_material[kept], **corners)


def compact_mesh(mesh: Mesh) -> Mesh:
    """Drop vertices and materials that no face uses, texture coordinates where no used material has a texture, and
    corner colours where those of each material are one, which then is in its ``diffuse``.
    """
    used, faces = np.unique(mesh.faces, return_inverse=True)
    used_materials, face_material = np.unique(mesh.face_material, return_inverse=True)
    materials = tuple(mesh.materials[i] for i in used_materials)
    compact = replace(
        mesh,
        vertices=mesh.vertices[used],
        faces=faces.reshape(-1, 3).astype(np.int32),
        face_material=face_material.reshape(-1).astype(np.int32),
        corner_uv=mesh.corner_uv if any(m.texture is not None for m in materials) else None,
        materials=materials,
    )
    return compact if mesh.corner_colours is None else _fold_colours(compact, mesh.corner_colours)


def _fold_colours(mesh: Mesh, colours: np.ndarray) -> Mesh:
    """Move a colour that all faces of a material without texture share into its ``diffuse``."""
    order = np.argsort(mesh.face_material, kind="stable")
    starts = np.searchsorted(mesh.face_material[order], np.arange(len(mesh.materials)))
    low = np.minimum.reduceat(colours.min(axis=1)[order], starts)
    high = np.maximum.reduceat(colours.max(axis=1)[order], starts)
    folded = (low == high).all(axis=1) & [m.texture is None for m in mesh.materials]
    materials = tuple(
        replace(material, diffuse=material.diffuse * colour) if fold else material
        for material, colour, fold in zip(mesh.materials, low, folded, strict=True)
    )
    left = np.where(folded[mesh.face_material][:, None, None], np.float32(1), colours)
    return replace(mesh, materials=materials, corner_colours=None if (left == 1).all() else left)


def normalise_mesh(mesh: Mesh) -> Mesh:
    """Centre the bounding box at the origin and scale its diagonal to 1, in float64; the result is float32.

    The mesh is checked first. Vertices that no face uses and faces without area do not count towards the box.

    Raises:
        MeshError: For an empty mesh, values that are not finite, or no extent.
    """
    check_faces(mesh)
    mesh = compact_mesh(drop_useless_faces(mesh))
    low, high = mesh.bounds.astype(np.float64)
    diagonal = float(np.linalg.norm(high - low))
    # the tiniest extents overflow 1 / diagonal, and huge ones overflow the squares under the root
    if not np.isfinite(diagonal) or diagonal < 1e-30:
        raise MeshError(f"{mesh.name}: bounding-box diagonal {diagonal} cannot be scaled to 1")
    vertices = (mesh.vertices.astype(np.float64) - (low + high) / 2) / diagonal
    return replace(mesh, vertices=vertices.astype(np.float32))
