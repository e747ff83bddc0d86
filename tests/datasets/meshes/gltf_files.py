"""Seeded glTF files of random geometry and features, with the surface that each of them means.

The surface is worked out beside the file from what is put into it, not read back.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from gltf_parts import make_primitive
from gltf_writer import Writer
from scipy.spatial.transform import Rotation
from soups import POINTS, Soup, nearest


def _trs(writer: Writer, *, rigid: bool = False) -> tuple[dict[str, Any], np.ndarray]:
    """A node's transform as JSON and as a matrix."""
    rng = writer.rng
    move, turn = rng.uniform(-3, 3, 3), Rotation.random(random_state=int(rng.integers(2**31)))
    scale = np.ones(3) if rigid else rng.uniform(0.3, 2, 3) * rng.choice([1, 1, 1, -1], 3)
    if (scale < 0).sum() % 2:
        writer.features.add("mirrored node")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn.as_matrix() * scale, move
    if writer.pick("node matrix", "node TRS", "node TRS") == "node matrix":
        return {"matrix": matrix.T.ravel().tolist()}, matrix
    item = {"translation": move.tolist(), "rotation": turn.as_quat().tolist()}
    return (item if rigid else item | {"scale": scale.tolist()}), matrix


def _chain(writer: Writer, depth: int) -> tuple[int, int, np.ndarray]:
    """Nodes one below the other: the highest, the lowest, and the matrix to the world."""
    numbers, world = [], np.eye(4)
    for _ in range(depth):
        item, matrix = _trs(writer) if writer.chance(0.8) else ({}, np.eye(4))
        world = world @ matrix
        numbers.append(writer.add("nodes", item))
    for parent, child in itertools.pairwise(numbers):
        writer.tree["nodes"][parent]["children"] = [child]
    return numbers[0], numbers[-1], world


def _skin(writer: Writer, joints: int) -> tuple[int, int, np.ndarray]:
    """A root of joints, the skin, and the joints' matrices from the mesh to the world."""
    item, root_matrix = _trs(writer, rigid=True)
    root = writer.add("nodes", item | {"children": []})
    numbers, worlds, inverse = [], [], []
    for _ in range(joints):
        item, matrix = _trs(writer, rigid=True)
        numbers.append(writer.add("nodes", item))
        worlds.append(root_matrix @ matrix)
        inverse.append(np.linalg.inv(_trs(writer, rigid=True)[1]))
    writer.tree["nodes"][root]["children"] = numbers
    stored = np.float32(inverse)
    accessor = writer.accessor(stored.swapaxes(1, 2).reshape(-1, 16), "<f4", vertex=False)
    skin = writer.add("skins", {"joints": numbers, "inverseBindMatrices": accessor})
    return root, skin, np.array(worlds) @ stored.astype(float)


def _copies(writer: Writer, node: dict[str, Any]) -> np.ndarray:
    """EXT_mesh_gpu_instancing on a node: the matrices of the copies."""
    writer.need("EXT_mesh_gpu_instancing", writer.chance(0.5))
    count = writer.integer(1, 3)
    move = writer.rng.uniform(-5, 5, (count, 3)).astype(np.float32)
    turn = Rotation.random(count, random_state=int(writer.rng.integers(2**31)))
    scale = writer.rng.uniform(0.5, 2, (count, 3)).astype(np.float32)
    attributes = {
        "TRANSLATION": writer.accessor(move, "<f4", vertex=False),
        "ROTATION": writer.accessor(turn.as_quat(), "<f4", vertex=False),
        "SCALE": writer.accessor(scale, "<f4", vertex=False),
    }
    node["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = turn.as_matrix() * scale[:, None], move
    return matrices


def _shape(writer: Writer) -> list[Soup]:
    """A mesh shown somewhere, perhaps with copies, joints or morph targets."""
    use = writer.pick("plain", "plain", "plain", "instances", "skin", "morph")
    targets, joints = 2 * (use == "morph"), 3 * (use == "skin")
    read = [make_primitive(writer, targets, joints) for _ in range(writer.integer(1, 3))]
    mesh = {"primitives": [item for item, _ in read]}
    top, node, world = _chain(writer, writer.integer(1, 3))
    roots, item = [top], writer.tree["nodes"][node]
    weights = writer.rng.uniform(-1, 1, targets)
    if targets:
        (mesh if writer.pick("weights of the mesh", "weights of the node")[-4:] == "mesh" else item)["weights"] = (
            weights.tolist()
        )
    item["mesh"] = writer.add("meshes", mesh)
    matrices = world[None]
    if use == "instances":
        matrices = world @ _copies(writer, item)
    skin = None
    if joints:
        root, item["skin"], skin = _skin(writer, joints)
        roots.append(root)
    writer.tree["scenes"][writer.tree["scene"]]["nodes"] += roots
    flat = all(meaning["normals"] is None for _, meaning in read)
    return [_soup(meaning, matrix, skin, weights, flat) for _, meaning in read for matrix in matrices]


def _soup(meaning: dict[str, Any], world: np.ndarray, skin: np.ndarray | None, weights: np.ndarray, flat: bool) -> Soup:
    points, faces = meaning["positions"].copy(), meaning["faces"]
    for move, weight in zip(meaning["moves"], weights, strict=True):
        points += weight * move
    matrices = np.tile(world, (len(points), 1, 1))
    if skin is not None:
        matrices = np.einsum("nj,njab->nab", meaning["weights"], skin[meaning["joints"]])
    corners = (np.einsum("nab,nb->na", matrices[:, :3, :3], points) + matrices[:, :3, 3])[faces]
    normals = np.full((len(faces), 3, 3), np.nan)
    if meaning["normals"] is not None:
        turned = np.einsum("nba,nb->na", np.linalg.inv(matrices[:, :3, :3]), meaning["normals"])
        normals = (turned / np.linalg.norm(turned, axis=1, keepdims=True))[faces]
    albedo = np.tile(meaning["factor"], (len(faces), len(POINTS), 1))
    if meaning["colours"] is not None:
        albedo = albedo * np.einsum("pc,mcx->mpx", POINTS, meaning["colours"][faces])
    if (texture := meaning["texture"]) is not None:
        uv = meaning["uv"][texture["set"]] @ texture["matrix"][:, :2].T + texture["matrix"][:, 2]
        albedo = albedo * nearest(texture["pixels"], np.einsum("pc,mcx->mpx", POINTS, uv[faces]), texture["wrap"])
    if np.linalg.det(world[:3, :3]) < 0 and skin is None:
        corners, normals, albedo = corners[:, ::-1], normals[:, ::-1], albedo[:, [2, 1, 0, 3]]
    # Blender's importer keeps no normals of what it deforms, nor flat ones beside others
    kept = np.full(len(faces), skin is None and not len(weights) and flat == (meaning["normals"] is None))
    return Soup(corners, normals, albedo, kept)


def make_file(seed: int, *, glb: bool = False) -> tuple[dict[str, bytes], set[str], Soup]:
    """The files, the main one first (a GLB or either), the names of the features, and the surface."""
    writer = Writer(np.random.default_rng(np.random.SeedSequence([seed, 0x617F])))
    writer.buffers = [bytearray() for _ in range(writer.integer(1, 3))]
    scenes: list[dict[str, Any]] = [{"nodes": []} for _ in range(writer.pick(1, 1, 2))]
    writer.tree |= {"scene": len(scenes) - 1, "scenes": scenes}
    soup = Soup.join([part for _ in range(writer.integer(1, 3)) for part in _shape(writer)])
    if len(scenes) > 1:
        writer.features.add("another scene")
        scenes[0]["nodes"].append(writer.add("nodes", {"mesh": 0, "translation": [50, 0, 0]}))
    return writer.files(glb=glb), writer.features, soup
