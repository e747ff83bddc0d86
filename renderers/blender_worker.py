"""Rendering with Blender Cycles. A program for Blender's Python, run in a process of its own and never imported.

    python -P blender_worker.py

It first writes a line of JSON with Blender's version. Then each line of its standard input names a folder that holds
``job.json`` (scene constants, settings, and of each view the rotation, colours and light) and the mesh, ``mesh.npz``;
it writes ``<number>.png`` there and answers with a line: ``{"seconds": [...]}``, one per view, or ``{"error": ...}``.
It ends with its input. Needs ``bpy`` and NumPy only.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector  # type: ignore[import-not-found]

MIX_INPUTS = ("Factor_Float", "A_Color", "B_Color")


def main() -> None:
    # Blender reports on standard output; the answers keep a channel of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"blender": bpy.app.version_string}), file=answers)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"seconds": render(Path(line.rstrip("\n")))}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def render(folder: Path) -> list[float]:
    """Render one mesh's views; returns the seconds that each took."""
    job = json.loads((folder / "job.json").read_text())
    set_up(job["scene"], job["settings"])
    floor = add_floor(job["scene"])
    spot = add_lights(job["scene"])
    shown = add_object(np.load(folder / "mesh.npz"), job["settings"]["specular"])
    seconds = []
    for number, view in enumerate(job["views"]):
        bpy.context.scene.cycles.seed = view["seed"]
        shown.matrix_world = Matrix.Translation(view["translation"]) @ Matrix(view["rotation"]).to_4x4()
        floor.inputs["Color"].default_value = (*view["floor_colour"], 1.0)
        spot.data.color = view["light_colour"]
        spot.location = view["light_position"]
        spot.rotation_euler = (-Vector(view["light_position"])).to_track_quat("-Z", "Y").to_euler()
        bpy.context.scene.render.filepath = str(folder / f"{number}.png")
        start = time.perf_counter()
        bpy.ops.render.render(write_still=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def set_up(constants: dict[str, Any], settings: dict[str, Any]) -> None:
    """Set up an empty scene with 3DIEBench's camera, world and Cycles settings; nothing of an earlier one is kept.

    Args:
        constants: constants of the scene.
        settings: settings of Cycles.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    if settings["threads"]:
        scene.render.threads_mode, scene.render.threads = "FIXED", settings["threads"]
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = settings["size"]
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    # The default of Blender 4 and later is AgX; the data set was made when it was Filmic.
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform = "Filmic" if settings["view_transform"] == "filmic" else "Standard"
    scene.view_settings.look = "None"
    set_up_cycles(scene.cycles, settings)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    tree = scene.world.node_tree
    tree.nodes.clear()
    background, output = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    background.inputs["Color"].default_value = (*[constants["world_radiance"]] * 3, 1.0)
    tree.links.new(background.outputs[0], output.inputs["Surface"])
    add_camera(scene, constants)


def set_up_cycles(cycles: Any, settings: dict[str, Any]) -> None:
    """Set Cycles' sampling and device.

    Args:
        cycles: the scene's settings.
        settings: wanted.
    """
    cycles.device = "CPU"
    cycles.samples = settings["samples"]
    cycles.use_adaptive_sampling, cycles.adaptive_threshold = True, 0.01
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.max_bounces = cycles.diffuse_bounces = 3
    cycles.glossy_bounces = cycles.transmission_bounces = cycles.volume_bounces = 0
    cycles.transparent_max_bounces = 8
    cycles.use_light_tree = False


def add_camera(scene: Any, constants: dict[str, Any]) -> None:
    """Add the camera of 3DIEBench.

    Args:
        scene: Blender's.
        constants: constants of the scene.
    """
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.angle = "HORIZONTAL", constants["field_of_view"]
    data.clip_start, data.clip_end = 0.1, 1000.0
    camera = bpy.data.objects.new("camera", data)
    right, up, forward = (Vector(constants[name]) for name in ("camera_right", "camera_up", "camera_forward"))
    axes = Matrix((right, up, -forward)).transposed()
    camera.matrix_world = Matrix.Translation(constants["camera_position"]) @ axes.to_4x4()
    scene.collection.objects.link(camera)
    scene.camera = camera


def add_floor(constants: dict[str, Any]) -> Any:
    """Add a plane 10 000 wide and return the shader node that holds its colour."""
    half, z = 5000.0, constants["floor_z"]
    mesh = bpy.data.meshes.new("floor")
    mesh.from_pydata([(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)], [], [(0, 1, 2, 3)])
    material = bpy.data.materials.new("floor")
    # A pure Lambert surface: what Cycles made of the generator's material without nodes.
    node = shader(material, "ShaderNodeBsdfDiffuse")
    mesh.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("floor", mesh))
    return node


def shader(material: Any, kind: str) -> Any:
    """Return a material's shader of a kind.

    Args:
        material: Blender's.
        kind: type of the node.
    """
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    node, output = tree.nodes.new(kind), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(node.outputs[0], output.inputs["Surface"])
    return node


def add_lights(constants: dict[str, Any]) -> Any:
    """Add the sun and the spot light; return the latter."""
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = constants["sun_irradiance"], 2 * constants["sun_half_angle"]
    spot = bpy.data.lights.new("spot", "SPOT")
    spot.energy = constants["spot_power"]
    spot.spot_size, spot.spot_blend = 2 * constants["spot_half_angle"], constants["spot_blend"]
    spot.shadow_soft_size = constants["spot_radius"]  # 0 by default when made in code
    objects = [bpy.data.objects.new(light.name, light) for light in (sun, spot)]
    for item in objects:
        bpy.context.scene.collection.objects.link(item)
    return objects[1]


def add_object(arrays: Any, specular: bool) -> Any:
    """Add the object with its materials.

    Args:
        arrays: arrays of the mesh.
        specular: with reflections.
    """
    mesh = bpy.data.meshes.new("object")
    mesh.from_pydata(arrays["vertices"].tolist(), [], arrays["faces"].tolist())
    for number in range(len(arrays["diffuse"])):
        mesh.materials.append(add_material(arrays, number, specular))
    mesh.polygons.foreach_set("material_index", arrays["face_material"])
    if "corner_uv" in arrays:
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", arrays["corner_uv"].ravel())
    if "corner_colours" in arrays:
        rgba = np.ones((len(arrays["faces"]) * 3, 4), np.float32)
        rgba[:, :3] = arrays["corner_colours"].reshape(-1, 3)
        mesh.color_attributes.new("colours", "FLOAT_COLOR", "CORNER").data.foreach_set("color", rgba.ravel())
    if "corner_normals" in arrays:
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
        mesh.normals_split_custom_set(arrays["corner_normals"].reshape(-1, 3).tolist())
    mesh.update()
    item = bpy.data.objects.new("object", mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def add_material(arrays: Any, number: int, specular: bool) -> Any:
    """Add one material of the object.

    Args:
        arrays: arrays of the mesh.
        number: number of the material.
        specular: with reflections.
    """
    material = bpy.data.materials.new(f"object{number}")
    node = shader(material, "ShaderNodeBsdfPrincipled")
    node.inputs["Base Color"].default_value = (*arrays["diffuse"][number].tolist(), 1.0)
    node.inputs["Alpha"].default_value = float(arrays["alpha"][number])
    node.inputs["Roughness"].default_value = float(arrays["roughness"][number])
    node.inputs["Specular IOR Level"].default_value = float(arrays["specular"][number]) if specular else 0.0
    if f"texture{number}" in arrays:
        image = material.node_tree.nodes.new("ShaderNodeTexImage")
        image.image = load_texture(arrays[f"texture{number}"], f"texture{number}")
        material.node_tree.links.new(image.outputs["Color"], node.inputs["Base Color"])
    if "corner_colours" in arrays:
        multiply_colours(material.node_tree, node.inputs["Base Color"])
    return material


def multiply_colours(tree: Any, base: Any) -> None:
    """Multiply a material's colour or texture by the colours of the corners.

    Args:
        tree: nodes of the material.
        base: socket of its colour.
    """
    product, colours = tree.nodes.new("ShaderNodeMix"), tree.nodes.new("ShaderNodeVertexColor")
    product.data_type, product.blend_type, colours.layer_name = "RGBA", "MULTIPLY", "colours"
    factor, first, second = (next(s for s in product.inputs if s.identifier == name) for name in MIX_INPUTS)
    factor.default_value, first.default_value = 1.0, base.default_value
    if base.is_linked:
        tree.links.new(base.links[0].from_socket, first)
    tree.links.new(colours.outputs["Color"], second)
    tree.links.new(next(s for s in product.outputs if s.identifier == "Result_Color"), base)


def load_texture(pixels: np.ndarray, name: str) -> Any:
    """Load pixels as a Blender image.

    Args:
        pixels: (H, W, 3) uint8 sRGB.
        name: name of the image.
    """
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height)
    image.colorspace_settings.name = "sRGB"
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = pixels[::-1] / 255.0  # Blender's first row is the lowest
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    image.pack()
    return image


if __name__ == "__main__":
    main()
