"""Primitives of a glTF mesh: vertices, triangles, morphing and skinning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equissl.datasets.meshes.gltf.accessors import read_accessor
from equissl.datasets.meshes.gltf.attributes import Attributes
from equissl.datasets.meshes.gltf.document import Document


@dataclass(frozen=True, eq=False)
class Primitive:
    """N vertices and M triangles of one material.

    Attributes:
        positions: (N, 3) float64.
        faces: (M, 3) int64.
        normals: (N, 3) float64, or None.
        uv: Texture coordinates (N, 2) by the number of their set, v downwards.
        colours: Linear (N, 3 or 4), or None.
        joints, weights: (N, J) of skinning, or None.
        material: Number of the material, or None.
    """

    positions: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: dict[int, np.ndarray]
    colours: np.ndarray | None
    joints: np.ndarray | None
    weights: np.ndarray | None
    material: int | None


def read_primitive(document: Document, data: dict[str, Any], weights: Sequence[float]) -> Primitive | None:
    """Decode a primitive; None for points and lines.

    Args:
        document: the file.
        data: the primitive.
        weights: of its morph targets.

    Raises:
        ValueError: where a triangle uses a vertex that does not exist.
    """
    mode = data.get("mode", 4)
    if mode not in (4, 5, 6) or "POSITION" not in data["attributes"]:
        return None
    attributes = Attributes(document, data)
    positions = attributes.read("POSITION").astype(np.float64)
    faces = triangles(attributes.indices(len(positions)), mode)
    if len(faces) and faces.max() >= len(positions):
        raise ValueError(f"face indices {faces.min()}..{faces.max()} of {len(positions)} vertices")
    primitive = Primitive(
        positions=positions,
        faces=faces,
        normals=attributes.read("NORMAL") if "NORMAL" in attributes else None,
        uv={int(key[9:]): attributes.read(key) for key in attributes if key.startswith("TEXCOORD_")},
        colours=attributes.read("COLOR_0", normalised=True) if "COLOR_0" in attributes else None,
        joints=_sets(attributes, "JOINTS_"),
        weights=_sets(attributes, "WEIGHTS_"),
        material=data.get("material"),
    )
    return _morph(document, primitive, data.get("targets") or [], weights)


def triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Cut a list of indices into triangles (M, 3) with one winding.

    Args:
        indices: (n,).
        mode: 4 triangles, 5 a strip, 6 a fan.
    """
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    number = np.arange(max(len(indices) - 2, 0))
    if mode == 5:
        odd = number % 2
        return indices[np.stack([number, number + 1 + odd, number + 2 - odd], axis=1)]
    return indices[np.stack([number + 1, number + 2, np.zeros_like(number)], axis=1)]


def _sets(attributes: Attributes, name: str) -> np.ndarray | None:
    """The sets of an attribute side by side, ``JOINTS_0``, ``JOINTS_1`` ..."""
    keys = sorted(key for key in attributes if key.startswith(name))
    return np.concatenate([attributes.read(key) for key in keys], axis=1) if keys else None


def _morph(
    document: Document, primitive: Primitive, targets: list[dict[str, Any]], weights: Sequence[float]
) -> Primitive:
    """Add the displacements of the targets, each times its weight."""
    positions, normals = primitive.positions, primitive.normals
    for target, weight in zip(targets, weights, strict=False):
        if weight and "POSITION" in target:
            positions = positions + weight * read_accessor(document, target["POSITION"])
        if weight and normals is not None and "NORMAL" in target:
            normals = normals + weight * read_accessor(document, target["NORMAL"])
    return replace(primitive, positions=positions, normals=normals)


def place(primitive: Primitive, matrix: np.ndarray, skin: np.ndarray | None) -> Primitive:
    """Carry a primitive to the world; a mirrored one keeps its outside by a turned winding.

    Args:
        primitive: in the frame of its node.
        matrix: (4, 4) from the node to the world. Not used for a skinned primitive, whose joints say where it is.
        skin: (joints, 4, 4), see :func:`~equissl.datasets.meshes.gltf.nodes.skin_matrices`, or None.
    """
    matrices = matrix[None]
    if skin is not None and primitive.joints is not None and primitive.weights is not None:
        matrices = _blend(skin, primitive.joints, primitive.weights, matrix)
    linear = matrices[:, :3, :3]
    mirrored = np.linalg.det(linear) < 0
    positions = np.einsum("nij,nj->ni", linear, primitive.positions) + matrices[:, :3, 3]
    normals = primitive.normals
    if normals is not None:
        # the cofactors are the inverse transpose times the determinant, and exist for flat scales too
        cofactors = np.stack([np.cross(linear[:, i - 2], linear[:, i - 1]) for i in range(3)], axis=1)
        cofactors /= np.maximum(np.abs(cofactors).max(axis=(1, 2), keepdims=True), 1e-300)
        normals = np.einsum("nij,nj->ni", cofactors, normals) * np.where(mirrored, -1.0, 1.0)[:, None]
    faces = primitive.faces[:, ::-1] if mirrored.mean() > 0.5 else primitive.faces
    return replace(primitive, positions=positions, normals=normals, faces=faces)


def _blend(skin: np.ndarray, joints: np.ndarray, weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Matrices (N, 4, 4) of the vertices; one that hangs on no joint stays with the node."""
    total = weights.sum(axis=1)
    share = np.divide(weights, total[:, None], out=np.zeros_like(weights), where=total[:, None] > 0)
    blended = np.zeros((len(weights), 4, 4))
    for column in range(weights.shape[1]):
        blended += share[:, column, None, None] * skin[joints[:, column]]
    blended[total <= 0] = matrix
    return blended
