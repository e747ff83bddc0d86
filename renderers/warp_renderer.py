"""GPU renderer of the 3DIEBench scene: rays of many views of many meshes in one launch (NVIDIA Warp), torch shading.

It draws what ``raycast`` draws and runs on the CPU too, where ``raycast`` is faster. Rays leave no holes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch

from equissl.renderers.base import RendererError
from equissl.renderers.device_mesh import DeviceMesh, MeshBatch
from equissl.renderers.torch_renderer import TorchRenderer
from equissl.renderers.torch_shading import Tracer

INSTALL_WARP = "install it: pip install 'warp-lang>=1.19'"


def warp_library() -> ModuleType:
    """Import the warp package.

    Raises:
        RendererError: with the command that installs what is missing.
    """
    try:
        import warp
    except (ImportError, OSError) as error:  # OSError: its shared library does not load
        raise RendererError(f"the 'warp' renderer cannot load NVIDIA Warp ({error}); {INSTALL_WARP}") from error
    if tuple(int(part) for part in warp.__version__.split(".")[:2]) < (1, 19):
        raise RendererError(f"the 'warp' renderer needs NVIDIA Warp 1.19, found {warp.__version__}; {INSTALL_WARP}")
    warp.config.log_level = warp.LOG_WARNING  # it greets and reports every kernel otherwise
    warp.init()
    return warp


class WarpRenderer(TorchRenderer):
    """Ray tracing renderer, see the module; options as of :class:`~equissl.renderers.torch_renderer.TorchRenderer`."""

    name = "warp"
    version = "warp-1"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._warp = warp_library()  # a missing library is found here, not at the first mesh
        self._traced: WeakKeyDictionary[DeviceMesh, Any] = WeakKeyDictionary()

    def _tracer(self, batch: MeshBatch) -> Tracer:
        from equissl.renderers.warp_tracer import WarpTracer, trace_mesh

        for mesh in batch.meshes:
            if mesh not in self._traced:
                self._traced[mesh] = trace_mesh(mesh)
        return WarpTracer([self._traced[mesh] for mesh in batch.meshes], batch.radius)

    def _on_stream(self) -> AbstractContextManager[Any]:
        if self.device.type == "cpu":
            return nullcontext()
        return self._warp.ScopedStream(self._warp.stream_from_torch(torch.cuda.current_stream(self.device)))
