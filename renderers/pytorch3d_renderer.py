"""GPU renderer of the 3DIEBench scene by rasterisation (PyTorch3D), torch shading and shadow maps.

A second opinion on the ``warp`` renderer: it draws the same, with one spot light sample and with shadow edges as fine
as the shadow map. It runs on the CPU too, far slower.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from equissl.renderers.base import RendererError
from equissl.renderers.device_mesh import MeshBatch
from equissl.renderers.torch_renderer import TorchRenderer
from equissl.renderers.torch_shading import ShadingOptions, Tracer

INSTALL_PYTORCH3D = "install it: pip install easypytorch3d (a prebuilt wheel of PyTorch3D)"


def pytorch3d_library() -> ModuleType:
    """Import the module that rasterises.

    Raises:
        RendererError: with the command that installs what is missing.
    """
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes
    except (ImportError, OSError) as error:  # OSError, ImportError: its compiled part belongs to another PyTorch
        raise RendererError(f"the 'pytorch3d' renderer cannot load PyTorch3D ({error}); {INSTALL_PYTORCH3D}") from error
    return rasterize_meshes


class Pytorch3dRenderer(TorchRenderer):
    """Rasterising renderer, see the module; options as of :class:`~equissl.renderers.torch_renderer.TorchRenderer`."""

    name = "pytorch3d"
    version = "pytorch3d-1"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        pytorch3d_library()  # a missing library is found here, not at the first mesh

    def _check_options(self, options: ShadingOptions) -> None:
        super()._check_options(options)
        if options.spot_samples != 1:
            raise RendererError(
                f"the 'pytorch3d' renderer casts hard shadows only: expected spot_samples 1, got "
                f"{options.spot_samples!r}; the 'warp' renderer samples the spot light's disk"
            )

    def _tracer(self, batch: MeshBatch) -> Tracer:
        from equissl.renderers.rasteriser import RasterTracer

        return RasterTracer(batch)
