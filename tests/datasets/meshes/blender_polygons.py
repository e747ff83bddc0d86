"""Polygon files as Blender reads them, under its own interpreter: ``blender_polygons.py FILES.json ANSWERS.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bpy


def read(path: str) -> list[dict[str, Any]] | str:
    """Polygons of all objects, or the error."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    operator = getattr(bpy.ops.wm, f"{path.rpartition('.')[2]}_import")
    try:
        operator(filepath=path, forward_axis="Y", up_axis="Z")
    except RuntimeError as error:
        return str(error)
    return [polygon for item in bpy.data.objects if item.type == "MESH" for polygon in polygons(item.data)]


def polygons(mesh: Any) -> list[dict[str, Any]]:
    """Corners of each face, with their material."""
    uv = mesh.uv_layers.active
    colours = mesh.color_attributes.active_color if mesh.color_attributes else None
    result = []
    for face in mesh.polygons:
        loops, vertices = list(face.loop_indices), list(face.vertices)
        material = mesh.materials[face.material_index] if len(mesh.materials) else None
        result.append(
            {
                "positions": [list(mesh.vertices[i].co) for i in vertices],
                "uv": [list(uv.uv[i].vector) for i in loops] if uv else None,
                "normals": [list(mesh.corner_normals[i].vector) for i in loops] if mesh.has_custom_normals else None,
                "colours": [list(colours.data[i].color)[:3] for i in vertices] if colours else None,
                "look": look(material) if material else None,
            }
        )
    return result


def look(material: Any) -> dict[str, Any]:
    """Colour or texture, and opacity."""
    shader = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        return {"name": material.name}
    base, image = shader.inputs["Base Color"], None
    for link in base.links:
        image = getattr(link.from_node, "image", None)
    texture = [round(255 * x) for x in image.pixels[:3]] if image is not None and image.size[0] else None
    alpha = shader.inputs["Alpha"].default_value
    return {"name": material.name, "diffuse": list(base.default_value)[:3], "texture": texture, "alpha": alpha}


if __name__ == "__main__":
    files = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([read(path) for path in files]))
