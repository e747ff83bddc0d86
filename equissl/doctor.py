"""Report of installed and missing packages, each with the command that fixes it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from equissl.util.processes import usable_cores

OPEN3D_LIBRARIES = "apt-get install -y libusb-1.0-0 libgomp1 libx11-6 libgl1 libegl1"


@dataclass
class Check:
    """Line of the doctor's report.

    Attributes:
        name: what was looked at.
        ok: present and usable.
        found: version, or what is wrong.
        fix: command that fixes it; empty where there is nothing to do.
        required: whether the program's main paths need it.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = True

    def line(self) -> str:
        mark = "ok  " if self.ok else ("MISS" if self.required else "note")
        text = f"{mark}  {self.name:<22} {self.found}"
        return text if self.ok or not self.fix else f"{text}\n      {'':<22} -> {self.fix}"


def run_doctor(say: Callable[[str], None] = print) -> int:
    """Print every check.

    Returns:
        1 when something required is missing, else 0.
    """
    checks = examine()
    for check in checks:
        say(check.line())
    missing = [check.name for check in checks if check.required and not check.ok]
    say("everything required is present" if not missing else f"missing: {', '.join(missing)}")
    return 1 if missing else 0


def examine() -> list[Check]:
    """Run all checks, in the order they are shown."""
    return [
        check_python(),
        check_package("torch", "pip install torch==2.11.0"),
        check_package("torchvision", "pip install torchvision==0.26.0"),
        check_package("jsonargparse", "pip install 'jsonargparse[signatures]'"),
        check_package("h5py", "pip install h5py"),
        check_package("mapbox_earcut", "pip install mapbox_earcut"),
        check_package("PIL", "pip install pillow", distribution="pillow"),
        check_open3d(),
        check_package("timm", "pip install timm", required=False),
        check_package("tensorboard", "pip install tensorboard", required=False),
        check_sweethome3d(),
        check_blender(),
        check_gpu(),
        check_bf16(),
        check_cores(),
        check_disk(Path.cwd()),
    ]


def check_python() -> Check:
    """Check for a version that ``requires-python`` of pyproject.toml admits."""
    version = platform.python_version()
    return Check("python", sys.version_info >= (3, 11), f"{version} ({sys.executable})", "install Python 3.11 or newer")


def check_package(module: str, fix: str, distribution: str | None = None, required: bool = True) -> Check:
    """Check that a module imports; the reason is told where a package is installed but does not import.

    Args:
        module: name to import.
        fix: command that fixes it.
        distribution: name of the package, where it differs from the module's.
        required: False for an optional package.
    """
    name = distribution or module
    try:
        importlib.import_module(module)
    except Exception as error:  # broken binary packages raise anything
        return Check(name, False, _first_line(error), fix, required)
    return Check(name, True, _version(name), required=required)


def check_open3d() -> Check:
    """Check that Open3D imports and casts one ray at one triangle."""
    try:
        distance = _cast_ray()
    except ModuleNotFoundError as error:
        return Check("open3d", False, _first_line(error), "pip install open3d-cpu")
    except (ImportError, OSError) as error:  # a shared library of the system is missing
        return Check("open3d", False, _first_line(error), OPEN3D_LIBRARIES)
    except Exception as error:
        return Check(
            "open3d", False, f"cannot cast a ray: {_first_line(error)}", "pip install --force-reinstall open3d-cpu"
        )
    version = _version("open3d-cpu", "open3d")
    if abs(distance - 1) > 1e-5:
        return Check("open3d", False, f"{version}: a ray of length 1 measures {distance}", "pip install -U open3d-cpu")
    return Check("open3d", True, f"{version}, ray casting works")


def _cast_ray() -> float:
    import numpy as np

    open3d: Any = importlib.import_module("open3d")  # its own type stubs refuse arrays
    scene = open3d.t.geometry.RaycastingScene()
    corners = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], dtype=np.float32)
    scene.add_triangles(open3d.core.Tensor(corners), open3d.core.Tensor(np.array([[0, 1, 2]], dtype=np.uint32)))
    ray = open3d.core.Tensor(np.array([[0, 0, 1, 0, 0, -1]], dtype=np.float32))
    return float(scene.cast_rays(ray)["t_hit"].numpy()[0])


def check_sweethome3d() -> Check:
    """Check for the real meshes of the demo; without them it takes procedural ones."""
    name, fix = "sweethome3d-furniture", "apt-get install -y sweethome3d-furniture"
    try:
        from equissl.datasets.meshes import sweethome3d_available

        present = sweethome3d_available()
    except Exception as error:
        return Check(name, False, _first_line(error), fix, required=False)
    found = "present" if present else "absent: the demo uses procedural meshes"
    return Check(name, bool(present), found, fix, required=False)


def check_blender() -> Check:
    """Look for a Python that has Blender, without importing it: it is only ever run in its own process."""
    from equissl.renderers.blender import PYTHON_VARIABLE, find_blender_python

    python = find_blender_python()
    if python is not None and not python.is_file():
        return Check(
            "bpy", False, f"{python} is not there", f"set {PYTHON_VARIABLE} to a Python with bpy", required=False
        )
    if python is not None:
        return Check("bpy", True, f"renderer `blender`, in a process of {python}", required=False)
    found = "absent: no renderer `blender`, and nothing to compare with"
    fix = f"pip install bpy==5.0.1 (needs Python 3.11), or set {PYTHON_VARIABLE} to a Python that has it"
    return Check("bpy", False, found, fix, required=False)


def check_gpu() -> Check:
    try:
        import torch
    except Exception as error:
        return Check("gpu", False, _first_line(error), required=False)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("gpu", True, f"{', '.join(names)} (CUDA {torch.version.cuda})", required=False)
    built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is a CPU build"
    if Path("/proc/driver/nvidia/version").exists():
        fix = "install the torch build that fits the driver: https://pytorch.org/get-started/locally"
        return Check("gpu", False, f"a driver is loaded but torch finds no GPU; {built}", fix, required=False)
    return Check("gpu", True, f"none; {built}; training runs on the CPU", required=False)


def check_bf16() -> Check:
    try:
        from equissl.util.device import cpu_has_bf16

        fast = cpu_has_bf16()
    except Exception as error:
        return Check("cpu bf16", False, _first_line(error), required=False)
    return Check("cpu bf16", True, "in hardware" if fast else "none; precision auto is 32", required=False)


def check_cores() -> Check:
    return Check("cores", True, f"{usable_cores()} usable of {os.cpu_count()}", required=False)


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 1e9
    return Check(
        "disk", free > 2, f"{free:.1f} GB free in {folder}", "free some space: the demo needs 2 GB", required=False
    )


def _version(*distributions: str) -> str:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown version"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
