"""Blender Cycles as the reference of the ray caster: the same scenes, in Blender's own process."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers import RendererError, ViewParameters, scene
from equissl.renderers.scene import view_arrays

_WORKER = Path(__file__).with_name("blender_worker.py")
INSTALL_BLENDER = (
    "Blender is not installed, so there is nothing to compare with. It needs Python 3.11: "
    "`python3.11 -m venv blender && blender/bin/pip install bpy==5.0.1`, then pass --blender_python blender/bin/python"
)


@dataclass(frozen=True, eq=False)
class CyclesResult:
    """Images (N, size, size, 3) uint8 and the wall seconds of each."""

    images: np.ndarray
    seconds: list[float]


def find_blender_python(blender_python: Path | str | None = None) -> Path | None:
    """The Python that imports ``bpy``: the given one, or this one where bpy is installed, or None."""
    if blender_python is not None:
        return Path(blender_python)
    return Path(sys.executable) if importlib.util.find_spec("bpy") else None


def render_with_cycles(
    blender_python: Path,
    scenes: Sequence[tuple[Mesh, ViewParameters]],
    size: int = 256,
    samples: int = 100,
    specular: bool = True,
    seed: int = 0,
    view_transform: str = "filmic",
) -> CyclesResult:
    """Render one image per (mesh, view) with the settings of 3DIEBench's generator.

    Args:
        blender_python: interpreter that imports ``bpy`` 5.0.1.
        scenes: what to render.
        size: image width and height.
        samples: paths per pixel.
        specular: whether materials keep their specular reflection.
        seed: of Cycles' noise.
        view_transform: ``filmic`` or ``standard``.

    Raises:
        RendererError: with the end of Blender's output when it fails.
    """
    settings = {"size": size, "samples": samples, "specular": specular, "seed": seed, "view_transform": view_transform}
    with tempfile.TemporaryDirectory(prefix="equissl-cycles-") as name:
        folder = Path(name)
        views = [_write_scene(folder, number, *item) for number, item in enumerate(scenes)]
        (folder / "jobs.json").write_text(json.dumps({"scene": _constants(), "settings": settings, "views": views}))
        # -P: the worker's folder stays off the module path, where its neighbours would hide Blender's modules.
        command = [str(blender_python), "-P", str(_WORKER), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not (folder / "times.json").exists():
            raise RendererError(f"{' '.join(command)} failed with code {done.returncode}: {done.stderr[-1500:]}")
        images = [np.asarray(Image.open(folder / f"{number}.png").convert("RGB")) for number in range(len(views))]
        return CyclesResult(np.stack(images), json.loads((folder / "times.json").read_text()))


def _constants() -> dict[str, object]:
    return {
        "world_radiance": scene.WORLD_RADIANCE,
        "floor_z": scene.FLOOR_Z,
        "field_of_view": scene.CAMERA_FIELD_OF_VIEW,
        "camera_position": scene.CAMERA_POSITION,
        "camera_right": scene.CAMERA_RIGHT,
        "camera_up": scene.CAMERA_UP,
        "camera_forward": scene.CAMERA_FORWARD,
        "sun_irradiance": scene.SUN_IRRADIANCE,
        "sun_half_angle": scene.SUN_HALF_ANGLE,
        "spot_power": scene.SPOT_INTENSITY * 4 * math.pi,
        "spot_half_angle": scene.SPOT_HALF_ANGLE,
        "spot_blend": scene.SPOT_BLEND,
        "spot_radius": scene.SPOT_RADIUS,
    }


def _write_scene(folder: Path, number: int, mesh: Mesh, view: ViewParameters) -> dict[str, object]:
    arrays: dict[str, Any] = {"vertices": mesh.vertices, "faces": mesh.faces, "face_material": mesh.face_material}
    for name in ("diffuse", "specular", "roughness"):
        arrays[name] = np.array([getattr(material, name) for material in mesh.materials], np.float32)
    for i, material in enumerate(mesh.materials):
        if material.texture is not None:
            arrays[f"texture{i}"] = material.texture
    arrays |= {n: a for n in ("corner_uv", "corner_normals") if (a := getattr(mesh, n)) is not None}
    np.savez(folder / f"mesh{number}.npz", **arrays)
    values = view_arrays([view])
    names = ("floor_colour", "light_colour", "light_position", "translation", "rotation")
    return {"mesh": f"mesh{number}.npz"} | {name: getattr(values, name)[0].tolist() for name in names}


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two 8-bit images in dB."""
    error = np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / error)) if error > 0 else math.inf
