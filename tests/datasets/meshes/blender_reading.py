"""Mesh files as read by Blender's importer. A program for an interpreter with ``bpy``, run in a process of its own.

    python -P blender_reading.py FOLDER

Each line of FOLDER/files.txt is a path from there; PATH.npz gets the triangles of its scene, z up: ``corners`` and
``normals`` (M, 3, 3), ``material`` (M,), ``colours`` (M, 3, 3); of each material ``factorK``, whether it is
``colouredK``, and of its texture ``imageK`` (H, W, 3) in sRGB and ``uvK`` (M, P, 2), v upwards, with ``wrapK``, at the
points of FOLDER/points.npy (P, 3), weights of the corners.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np


def main() -> None:
    folder = Path(sys.argv[1])
    points = np.load(folder / "points.npy")
    for name in (folder / "files.txt").read_text().splitlines():
        bpy.ops.wm.read_factory_settings(use_empty=True)
        try:
            bpy.ops.import_scene.gltf(filepath=str(folder / name))
            np.savez(folder / f"{name}.npz", **read_scene(points))
        except Exception as error:
            np.savez(folder / f"{name}.npz", error=str(error))


def read_scene(points: np.ndarray) -> dict[str, np.ndarray]:
    graph = bpy.context.evaluated_depsgraph_get()
    shown = [item for item in bpy.context.view_layer.objects if item.type == "MESH" and not is_bone_shape(item)]
    parts, materials = [], {}
    for item in shown:
        parts.append(read_object(item.evaluated_get(graph), materials, points))
    arrays = {
        key: np.concatenate([part[key] for part in parts]) for key in ("corners", "normals", "material", "colours")
    }
    for number, material in enumerate(materials.values()):
        factor, image, coloured = describe(material)
        arrays |= {f"factor{number}": np.array(factor), f"coloured{number}": np.array(coloured)}
        if image is not None:
            arrays |= {f"image{number}": pixels(image.image), f"wrap{number}": np.array(image.extension)}
            arrays[f"uv{number}"] = np.concatenate([coordinates(image, *part["layers"]) for part in parts])
    return arrays


def is_bone_shape(item: Any) -> bool:
    return item.name.startswith("Icosphere") or any(c.name == "glTF_not_exported" for c in item.users_collection)


def read_object(item: Any, materials: dict[str, Any], at: np.ndarray) -> dict[str, Any]:
    mesh, world = item.to_mesh(), np.array(item.matrix_world)
    order = [2, 1, 0] if np.linalg.det(world[:3, :3]) < 0 else [0, 1, 2]
    count = len(mesh.loops)
    points, index = np.empty(3 * len(mesh.vertices)), np.empty(count, int)
    mesh.vertices.foreach_get("co", points)
    mesh.loops.foreach_get("vertex_index", index)
    normals = np.array([corner.vector for corner in mesh.corner_normals]) @ np.linalg.inv(world[:3, :3])
    points = points.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]
    slots = [slot.material for slot in item.material_slots] or [None]
    numbers = []
    for material in slots:
        name = "" if material is None else material.name
        materials.setdefault(name, material)
        numbers.append(list(materials).index(name))
    slot = np.array([polygon.material_index for polygon in mesh.polygons])
    colours = np.ones((count, 4))
    if mesh.color_attributes:
        layer = mesh.color_attributes[mesh.color_attributes.render_color_index]
        values = np.array([value.color for value in layer.data])
        colours = values if layer.domain == "CORNER" else values[index]
    layers = {}
    for layer in mesh.uv_layers:
        values = np.empty(2 * count)
        layer.uv.foreach_get("vector", values)
        layers[layer.name] = np.einsum("pc,mcx->mpx", at, values.reshape(-1, 3, 2)[:, order])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return {
        "corners": points[index].reshape(-1, 3, 3)[:, order],
        "normals": normals.reshape(-1, 3, 3)[:, order],
        "material": np.array(numbers)[slot],
        "colours": colours[:, :3].reshape(-1, 3, 3)[:, order],
        "layers": (layers, (len(slot), len(at))),
    }


def describe(material: Any) -> tuple[np.ndarray, Any, bool]:
    """Factor of the base colour, node of its texture, and whether colours multiply it."""
    if material is None:
        return np.ones(3), None, False
    shaders = {node.bl_idname: node for node in material.node_tree.nodes}
    shader = shaders.get("ShaderNodeBsdfPrincipled")
    return follow(shaders["ShaderNodeEmission"].inputs["Color"] if shader is None else shader.inputs["Base Color"])


def follow(socket: Any) -> tuple[np.ndarray, Any, bool]:
    """Factor, texture and colours that reach a socket."""
    if not socket.is_linked:
        return np.array(socket.default_value[:3]), None, False
    node = socket.links[0].from_node
    if node.bl_idname == "ShaderNodeTexImage":
        return np.ones(3), node, False
    if node.bl_idname == "ShaderNodeVertexColor":
        return np.ones(3), None, True
    assert node.bl_idname == "ShaderNodeMix" and node.blend_type == "MULTIPLY", node.bl_idname
    first, second = (follow(next(s for s in node.inputs if s.identifier == name)) for name in ("A_Color", "B_Color"))
    return first[0] * second[0], first[1] or second[1], first[2] or second[2]


def coordinates(image: Any, layers: dict[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    return evaluate(image.inputs["Vector"], layers)[..., :2] if layers else np.zeros((*shape, 2))


def evaluate(socket: Any, layers: dict[str, np.ndarray]) -> np.ndarray:
    """Values (M, P, ...) that reach a socket of texture coordinates."""
    first = next(iter(layers.values()))
    if not socket.is_linked:
        return first if socket.type == "VECTOR" else np.full(first.shape[:2], socket.default_value)
    source = socket.links[0].from_socket
    node = source.node
    values = {s.name: evaluate(s, layers) for s in node.inputs if s.is_linked}
    if node.bl_idname == "ShaderNodeUVMap":
        return layers.get(node.uv_map, np.zeros_like(first))
    if node.bl_idname == "ShaderNodeMapping":
        place, turn, scale = (np.array(node.inputs[n].default_value) for n in ("Location", "Rotation", "Scale"))
        scaled, (c, s) = values["Vector"][..., :2] * scale[:2], (np.cos(turn[2]), np.sin(turn[2]))
        return scaled @ np.array([[c, s], [-s, c]]) + place[:2]
    if node.bl_idname == "ShaderNodeSeparateXYZ":
        return values["Vector"][..., "XYZ".index(source.name)]
    if node.bl_idname == "ShaderNodeCombineXYZ":
        return np.stack([values["X"], values["Y"]], axis=-1)
    assert node.bl_idname == "ShaderNodeMath" and node.operation in ("WRAP", "PINGPONG"), node.bl_idname
    value = values["Value"]
    return np.mod(value, 1) if node.operation == "WRAP" else 1 - np.abs(np.mod(value, 2) - 1)


def pixels(image: Any) -> np.ndarray:
    """sRGB bytes (H, W, 3), first row at the top."""
    width, height = image.size
    values = np.empty(4 * width * height, np.float32)
    image.pixels.foreach_get(values)
    return np.rint(values.reshape(height, width, 4)[::-1, :, :3] * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
