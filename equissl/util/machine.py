"""Description of machine and software, for reports."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from equissl.util.processes import usable_cores

_PACKAGES = (
    "equissl",
    "numpy",
    "torch",
    "open3d",
    "open3d-cpu",
    "mapbox_earcut",
    "pillow",
    "pytorch3d",
    "warp-lang",
    "bpy",
)


def describe_machine() -> dict:
    """Describe processor, usable cores, accelerator, system, and versions of the packages that pictures depend on."""
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "accelerator": _accelerator(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def processor_name() -> str:
    """Return the name of the processor, as the system states it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
