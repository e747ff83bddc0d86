"""Blender Cycles as a renderer: the reference for the others, and for photoreal subsets.

Blender (GPL) runs in a process of its own, in any interpreter that imports ``bpy``; this package never imports it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers import scene
from equissl.renderers.base import RendererError
from equissl.renderers.image import VIEW_TRANSFORMS
from equissl.renderers.scene import ViewArrays, ViewParameters, view_arrays
from equissl.renderers.traced_mesh import check_mesh
from equissl.util.registry import check_options

PYTHON_VARIABLE = "EQUISSL_BLENDER_PYTHON"
INSTALL_BLENDER = (
    "Blender is not installed. It needs Python 3.11: `python3.11 -m venv blender && blender/bin/pip install "
    f"bpy==5.0.1`, then set {PYTHON_VARIABLE}=blender/bin/python"
)
_WORKER = Path(__file__).with_name("blender_worker.py")


def find_blender_python(python: Path | str | None = None) -> Path | None:
    """Find a Python that imports ``bpy``: the given one, ``$EQUISSL_BLENDER_PYTHON``, this one, or None."""
    if chosen := python or os.environ.get(PYTHON_VARIABLE):
        return Path(chosen)
    return Path(sys.executable) if importlib.util.find_spec("bpy") else None


@dataclass(frozen=True)
class BlenderOptions:
    """Options of the ``blender`` renderer; the rest of Cycles' settings are those of 3DIEBench's generator.

    Attributes:
        samples: paths per pixel.
        seed: seed of Cycles' noise, beside the view's own parameters.
        specular: whether materials keep their specular reflection.
        view_transform: ``filmic`` or ``standard``.
    """

    samples: int = 100
    seed: int = 0
    specular: bool = True
    view_transform: str = "filmic"

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 1 << 24:
            raise RendererError(f"expected samples in 1..{1 << 24}, got {self.samples!r}")
        if self.view_transform not in VIEW_TRANSFORMS:
            raise RendererError(f"expected view_transform in {VIEW_TRANSFORMS}, got {self.view_transform!r}")


class BlenderRenderer:
    """Renderer that drives Blender Cycles in a process of its own, see the module.

    The noise of a view follows from ``seed`` and the view alone: it is the same in any order, call and process.

    Args:
        python: interpreter that imports ``bpy``; see :func:`find_blender_python`. Not part of :attr:`options`.
        threads: threads of Cycles; 0: one per core. Not part of :attr:`options`.
        options: those of :class:`BlenderOptions`.

    Raises:
        RendererError: for an unknown option or a bad value; where Blender is missing or does not start.
    """

    name = "blender"

    def __init__(self, python: Path | str | None = None, threads: int = 0, **options: Any) -> None:
        check_options(
            f"renderer {self.name!r}",
            options,
            [*(f.name for f in fields(BlenderOptions)), "python", "threads"],
            RendererError,
        )
        self._options = BlenderOptions(**options)
        found = find_blender_python(python)
        if found is None:
            raise RendererError(INSTALL_BLENDER)
        self._python, self._threads = found, threads
        self._process = _Blender(found)  # what is missing is found here, not at the first mesh
        self.version = f"blender-1, Blender {self._process.version}"

    @property
    def options(self) -> Mapping[str, Any]:
        return asdict(self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self._python, self._threads, self.options)

    def render(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
        """Render all ``views`` of one mesh: uint8 (V, size, size, 3), true RGB, first row at the top.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.

        Raises:
            RendererError: for an empty or broken mesh, a view that is not finite, a bad size, or a failure of Blender,
                with the end of what it said.
        """
        return self.render_timed(mesh, views, size)[0]

    def render_timed(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> tuple[np.ndarray, list[float]]:
        """Render as :meth:`render` does, with the seconds that each image took.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        if not isinstance(size, (int, np.integer)) or size < 8:
            raise RendererError(f"expected an image size of at least 8 pixels, got {size!r}")
        check_mesh(mesh)
        arrays = view_arrays(views)
        settings = {"size": int(size), "threads": self._threads, **asdict(self._options)}
        described = [_describe_view(arrays, number, self._options.seed) for number in range(len(arrays))]
        job = {"scene": _constants(), "settings": settings, "views": described}
        if not self._process.alive:
            self._process = _Blender(self._python)
        with tempfile.TemporaryDirectory(prefix="equissl-blender-") as name:
            folder = Path(name)
            np.savez(folder / "mesh.npz", **_mesh_arrays(mesh))
            (folder / "job.json").write_text(json.dumps(job))
            try:
                seconds = self._process.run(folder)
            except RendererError as error:
                raise RendererError(f"mesh {mesh.name!r}: {error}") from error
            images = [np.asarray(Image.open(folder / f"{number}.png").convert("RGB")) for number in range(len(arrays))]
        return np.stack(images), seconds


def _unpickle(python: Path, threads: int, options: Mapping[str, Any]) -> BlenderRenderer:
    return BlenderRenderer(python, threads, **options)


class _Blender:
    """A running worker. It ends with this object, or with this process."""

    def __init__(self, python: Path) -> None:
        # -P: the worker's folder stays off the module path, where its neighbours would hide Blender's modules.
        self._command = [str(python), "-P", str(_WORKER)]
        self._said = tempfile.TemporaryFile("w+", prefix="equissl-blender-")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
            )
        except OSError as error:
            raise RendererError(f"{' '.join(self._command)} does not start: {error}; {INSTALL_BLENDER}") from error
        weakref.finalize(self, _end, self._process)
        self.version = self._answer()["blender"]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, folder: Path) -> list[float]:
        """Render the job in ``folder``; the seconds of each image.

        Raises:
            RendererError: when Blender fails or dies.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{folder}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; _answer says how
        answer = self._answer()
        if "error" in answer:
            raise RendererError(f"Blender failed: {answer['error'][-1500:]}")
        return answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            self._said.seek(0)  # the worker's own position too: only what it says of one job is kept
            self._said.truncate()
            return json.loads(line)
        code = self._process.wait()
        self._said.seek(0)
        raise RendererError(f"{' '.join(self._command)} failed with code {code}: {self._said.read()[-1500:]}")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


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


def _describe_view(arrays: ViewArrays, number: int, seed: int) -> dict[str, object]:
    names = ("floor_colour", "light_colour", "light_position", "translation", "rotation")
    values = {name: getattr(arrays, name)[number] for name in names}
    digest = hashlib.sha256(str(seed).encode() + b"".join(value.tobytes() for value in values.values())).digest()
    noise = int.from_bytes(digest[:4], "little") >> 1  # Cycles' seed is a positive 32-bit number
    return {name: value.tolist() for name, value in values.items()} | {"seed": noise}


def _mesh_arrays(mesh: Mesh) -> dict[str, Any]:
    arrays: dict[str, Any] = {"vertices": mesh.vertices, "faces": mesh.faces, "face_material": mesh.face_material}
    for name in ("diffuse", "specular", "roughness", "alpha"):
        arrays[name] = np.array([getattr(material, name) for material in mesh.materials], np.float32)
    for i, material in enumerate(mesh.materials):
        if material.texture is not None:
            arrays[f"texture{i}"] = material.texture
    optional = ("corner_uv", "corner_normals", "corner_colours")
    return arrays | {name: array for name in optional if (array := getattr(mesh, name)) is not None}
