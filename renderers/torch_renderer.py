"""Base of the renderers on torch devices: options, meshes kept on the device, and batches of many meshes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.camera import SUBPIXEL_OFFSETS
from equissl.renderers.counting import Rendering
from equissl.renderers.device_mesh import MeshBatch, MeshCache, batch_meshes
from equissl.renderers.device_views import device_grid, upload_views
from equissl.renderers.image import VIEW_TRANSFORMS
from equissl.renderers.scene import ViewArrays, ViewParameters, view_arrays
from equissl.renderers.torch_shading import ShadingOptions, Tracer, render_views
from equissl.util.registry import check_options

_BYTES_PER_SAMPLE = 512  # most that one sub-sample of a pixel takes while it is shaded
_MEMORY_LIMITS = ("mesh_megabytes", "pass_megabytes")


class TorchRenderer(ABC):
    """A renderer that shades with torch, on the CPU or on a GPU; backends add the tracer.

    The same mesh, view, size, options and device give the same image, up to one level, whatever is rendered with it.

    Args:
        device: ``cuda``, ``cpu``, or ``auto``: the GPU where there is one.
        mesh_megabytes: device memory in which meshes are kept for later calls.
        pass_megabytes: working memory; by default 2048 on a GPU, and what fits a processor's caches on the CPU.
        options: see :class:`~equissl.renderers.torch_shading.ShadingOptions`.

    Raises:
        RendererError: for an unknown option or a bad value, a device that is not there, or missing libraries.
    """

    name: str
    version: str

    def __init__(
        self,
        device: str = "auto",
        mesh_megabytes: int = 2048,
        pass_megabytes: int | None = None,
        **options: Any,
    ) -> None:
        known = [field.name for field in fields(ShadingOptions)]
        check_options(f"renderer {self.name!r}", options, [*known, "device", *_MEMORY_LIMITS], RendererError)
        self._shading = ShadingOptions(**options)
        self._check_options(self._shading)
        self.device = _find_device(device, self.name)
        if pass_megabytes is None:
            pass_megabytes = 2048 if self.device.type == "cuda" else 64
        for name, value in zip(_MEMORY_LIMITS, (mesh_megabytes, pass_megabytes), strict=True):
            if not value > 0:
                raise RendererError(f"expected {name} > 0, got {value!r}")
        self._limits = dict(zip(_MEMORY_LIMITS, (mesh_megabytes, pass_megabytes), strict=True))
        self._meshes = MeshCache(self.device, mesh_megabytes << 20)
        self._samples_per_pass = max(1, (pass_megabytes << 20) // _BYTES_PER_SAMPLE)

    @abstractmethod
    def _tracer(self, batch: MeshBatch) -> Tracer:
        """Return the tracer of the batch's surfaces."""

    def _on_stream(self) -> AbstractContextManager[Any]:
        """Make the tracer's library queue its work behind torch's."""
        return nullcontext()

    def _check_options(self, options: ShadingOptions) -> None:
        if options.antialias not in SUBPIXEL_OFFSETS:
            raise RendererError(f"expected antialias in {sorted(SUBPIXEL_OFFSETS)}, got {options.antialias!r}")
        if options.view_transform not in VIEW_TRANSFORMS:
            raise RendererError(f"expected view_transform in {VIEW_TRANSFORMS}, got {options.view_transform!r}")
        if not 1 <= options.spot_samples <= 256:
            raise RendererError(f"expected spot_samples in 1..256, got {options.spot_samples!r}")
        if not (math.isfinite(options.sun_strength) and options.sun_strength >= 0):
            raise RendererError(f"expected a finite sun_strength >= 0, got {options.sun_strength!r}")

    @property
    def options(self) -> Mapping[str, Any]:
        """Options and the kind of device: another kind may round differently."""
        return asdict(self._shading) | {"device": self.device.type}

    def __reduce__(self) -> tuple[Any, ...]:
        # Meshes on the device stay behind; a worker process copies its own.
        return _unpickle, (type(self), {**asdict(self._shading), "device": str(self.device), **self._limits})

    def render(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> np.ndarray:
        """Render all ``views`` of one mesh: uint8 (V, size, size, 3), true RGB, first row at the top.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        return self.render_tensor(mesh, views, size).cpu().numpy()

    def render_counted(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> Rendering:
        """Render as :meth:`render` does, and count the pixels that show the object.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        images, counts = self._render_arrays([mesh], np.zeros(len(views), np.int64), view_arrays(views), size)
        return Rendering(images.cpu().numpy(), counts.cpu().numpy())

    def render_tensor(self, mesh: Mesh, views: Sequence[ViewParameters], size: int) -> Tensor:
        """Render as :meth:`render` does, to a tensor that stays on the device.

        Args:
            mesh: to render.
            views: V.
            size: size of the images, in pixels.
        """
        return self.render_batch([mesh], [views], size)

    def render_batch(self, meshes: Sequence[Mesh], views: Sequence[Sequence[ViewParameters]], size: int) -> Tensor:
        """Render views of several meshes at once.

        Args:
            meshes: objects with their centres at the origin; drawn at their own scale.
            views: views of each mesh, as many as wanted.
            size: image width and height in pixels, at least 8.

        Returns:
            uint8 (sum of views, size, size, 3) on the device, mesh after mesh; not waited for.

        Raises:
            RendererError: for an empty or broken mesh, a view that is not finite, or a bad size.
        """
        if len(meshes) != len(views):
            raise RendererError(f"expected views for each of {len(meshes)} meshes, got them for {len(views)}")
        mesh_of_view = np.repeat(np.arange(len(meshes)), [len(v) for v in views])
        return self.render_arrays(meshes, mesh_of_view, view_arrays([v for each in views for v in each]), size)

    def render_arrays(self, meshes: Sequence[Mesh], mesh_of_view: np.ndarray, arrays: ViewArrays, size: int) -> Tensor:
        """Render as :meth:`render_batch` does, V views as arrays with the (V,) index of each view's mesh.

        Args:
            meshes: to render.
            mesh_of_view: (V,) index.
            arrays: arrays of V views.
            size: size of the images, in pixels.
        """
        return self._render_arrays(meshes, mesh_of_view, arrays, size)[0]

    @torch.no_grad()
    def _render_arrays(
        self, meshes: Sequence[Mesh], mesh_of_view: np.ndarray, arrays: ViewArrays, size: int
    ) -> tuple[Tensor, Tensor]:
        """Images, and the pixels (V,) that show the object."""
        if not isinstance(size, (int, np.integer)) or size < 8:
            raise RendererError(f"expected an image size of at least 8 pixels, got {size!r}")
        grid = device_grid(int(size), self._shading.antialias, self.device)
        once = {id(mesh): mesh for mesh in meshes}  # a mesh that is given twice is used once
        place = {key: number for number, key in enumerate(once)}
        number = np.array([place[id(mesh)] for mesh in meshes])[mesh_of_view]
        with self._on_stream():
            batch = batch_meshes(self._meshes.get(list(once.values())))
            tracer = self._tracer(batch)
            views = upload_views(arrays, number, self.device)
            step = max(1, self._samples_per_pass // (grid.samples * grid.pixels))
            parts = [
                render_views(batch, views[start : start + step], grid, tracer, self._shading)
                for start in range(0, len(views), step)
            ]
        images, counts = zip(*parts, strict=True)
        return torch.cat(images), torch.cat(counts)


def _unpickle(kind: type[TorchRenderer], options: Mapping[str, Any]) -> TorchRenderer:
    return kind(**options)


def _find_device(device: str, renderer: str) -> torch.device:
    kind = str(device).partition(":")[0]
    if kind not in ("auto", "cuda", "cpu"):
        raise RendererError(f"renderer {renderer!r}: expected device auto, cuda, cuda:<number> or cpu, got {device!r}")
    if kind == "auto":
        kind = device = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RendererError(
            f"renderer {renderer!r}: device {device!r} was asked for, but PyTorch {torch.__version__} finds no GPU; "
            "use device=cpu, or the `raycast` renderer, which is faster there"
        )
    number = torch.device(device).index
    number = torch.cuda.current_device() if number is None else number
    if number >= torch.cuda.device_count():
        raise RendererError(f"renderer {renderer!r}: no device {device!r}; there are {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", number)
