"""Nodes of a glTF scene: world matrices, instances and the matrices of skins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from equissl.datasets.meshes.gltf.accessors import read_accessor
from equissl.datasets.meshes.gltf.checks import INSTANCES
from equissl.datasets.meshes.gltf.document import Document


def shown_nodes(document: Document) -> Iterator[int]:
    """Yield the nodes of the scene: the default one, else the first; of a file without scenes, all."""
    scenes = document.items("scenes")
    if not scenes:
        yield from range(len(document.items("nodes")))
        return
    left = list(document.item("scenes", document.tree.get("scene", 0)).get("nodes") or [])[::-1]
    while left:
        index = left.pop()
        yield index
        left += (document.item("nodes", index).get("children") or [])[::-1]


def world_matrices(document: Document) -> np.ndarray:
    """Multiply out the matrices (nodes, 4, 4) from each node to the world.

    Raises:
        ValueError: where a node has two parents or is its own ancestor.
    """
    nodes = document.items("nodes")
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for child in node.get("children") or []:
            document.item("nodes", child)
            if parent.setdefault(child, index) != index:
                raise ValueError(f"node {child} has two parents, {parent[child]} and {index}")
    world = np.zeros((len(nodes), 4, 4))
    left, done = [index for index in range(len(nodes)) if index not in parent], 0
    while left:
        index = left.pop()
        local = local_matrix(nodes[index])
        world[index] = world[parent[index]] @ local if index in parent else local
        left += set(nodes[index].get("children") or [])
        done += 1
    if done < len(nodes):
        raise ValueError("the nodes form a circle")
    return world


def local_matrix(node: dict[str, Any]) -> np.ndarray:
    """Compute the matrix (4, 4) of a node, from its parent's frame: ``matrix``, or scale, rotation and translation."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T  # stored by columns
    return _compose(
        np.asarray([node.get("translation", (0, 0, 0))], np.float64),
        np.asarray([node.get("rotation", (0, 0, 0, 1))], np.float64),
        np.asarray([node.get("scale", (1, 1, 1))], np.float64),
    )[0]


def instance_matrices(document: Document, node: dict[str, Any]) -> np.ndarray:
    """Return the matrices (K, 4, 4) of a node's copies in its own frame; one identity for a node without copies.

    Args:
        document: the file.
        node: the node.
    """
    extension = (node.get("extensions") or {}).get(INSTANCES)
    if not extension:
        return np.eye(4)[None]
    read = {name: read_accessor(document, index) for name, index in extension["attributes"].items()}
    count = len(next(iter(read.values())))
    defaults = {"TRANSLATION": (0, 0, 0), "ROTATION": (0, 0, 0, 1), "SCALE": (1, 1, 1)}
    values = (read.get(name, np.tile(np.array(value, np.float64), (count, 1))) for name, value in defaults.items())
    return _compose(*values)


def _compose(translation: np.ndarray, quaternion: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices (K, 4, 4) of scale (K, 3), then rotation (K, 4) xyzw, then translation (K, 3)."""
    matrices = np.zeros((len(translation), 4, 4))
    matrices[:, :3, :3] = Rotation.from_quat(quaternion).as_matrix() * scale[:, None]
    matrices[:, :3, 3], matrices[:, 3, 3] = translation, 1
    return matrices


def skin_matrices(document: Document, index: Any, world: np.ndarray) -> np.ndarray:
    """Compute the matrices (joints, 4, 4) that carry the vertices of a skinned mesh to the world.

    Args:
        document: the file.
        index: number of the skin.
        world: (nodes, 4, 4), see :func:`world_matrices`.
    """
    skin = document.item("skins", index)
    for joint in skin["joints"]:
        document.item("nodes", joint)
    joints = world[skin["joints"]]
    if (inverse := skin.get("inverseBindMatrices")) is None:
        return joints
    return joints @ read_accessor(document, inverse)[: len(joints)].reshape(-1, 4, 4).swapaxes(1, 2)
