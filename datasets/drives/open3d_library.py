"""Open3D, which finds neighbours and registers sweeps."""

from __future__ import annotations

from typing import Any


def import_open3d() -> Any:
    """Import Open3D.

    Raises:
        ImportError: saying what to install.
    """
    try:
        import open3d
        import open3d.core.nns
    except (ImportError, OSError) as error:
        advice = "pip install open3d-cpu, and on Debian apt-get install libusb-1.0-0"
        raise ImportError(f"Open3D compares and registers sweeps, and cannot be loaded: {advice}") from error
    return open3d
