"""Views rendered during training: a store without end, in place of a file.

The views of an object are numbered for ever. Those of epoch e are numbers e·V to e·V + V - 1, and their latents are the
ones that a build of as many views would store: the same seed gives the same images, whether they are stored or not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.addressed import Address
from equissl.datasets.meshes import MeshSource, get_mesh_source
from equissl.datasets.meshes.memory import MeshMemory
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.dataset import assemble_batch, no_images
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.live.objects import find_objects
from equissl.datasets.views.live.spec import LiveSpec
from equissl.renderers import Renderer, RendererError, ViewParameters, get_renderer, view_parameters
from equissl.util.processes import fresh_context

Rendered = tuple[np.ndarray, np.ndarray, Tensor]  # rows (B,), latents (B, V, L), images (B, V, 3, S, S) uint8
logger = logging.getLogger(__name__)


class BatchRenderer(Protocol):
    """A renderer that draws many meshes in one call and leaves the images on its device."""

    def render_batch(self, meshes: Sequence[Mesh], views: Sequence[Sequence[ViewParameters]], size: int) -> Tensor:
        """Render uint8 (sum of views, size, size, 3), mesh after mesh.

        Args:
            meshes: to render.
            views: views of each mesh.
            size: size of the images, in pixels.
        """
        ...


class LiveViews(Dataset):
    """Objects of one split, each item V fresh views of one object; loaded like a :class:`ViewDataset`.

    Items are addressed by (epoch, index): the same address gives the same views in any order, process and worker.
    Meshes that cannot be used are found and named before the first item, and left out as a build leaves them out. If
    one fails all the same later, say because its file is gone, the next object of the split takes its place.

    Renderers with ``render_batch`` (see :class:`BatchRenderer`) work in the training process, on its GPU; others in the
    loader's processes.

    Args:
        spec: what to render.
        split: ``train``, ``val``, or None for all objects.
        views: V.
        seed: seed of the order and of the latents.
        workers: processes that try the meshes at the start; 0 does so in this one.
        progress: show how far that is.
        source, renderer: in place of those that ``spec`` names; picklable where there are workers.

    Raises:
        MeshSourceError: no meshes, or none that can be used.
        RendererError: an unknown renderer or option, or missing libraries.
        ValueError: a split without objects.
    """

    items = "objects"
    start_method = "forkserver"  # of the loader's processes, see fresh_context

    def __init__(
        self,
        spec: LiveSpec,
        split: str | None = "train",
        views: int = 2,
        seed: int = 0,
        workers: int = 0,
        progress: bool = False,
        source: MeshSource | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        if views < 1:
            raise ValueError(f"expected at least 1 view, got {views}")
        if source is None:
            source = get_mesh_source(spec.meshes, spec.objects, spec.seed, spec.classes, up=spec.up)
        fresh_context(__name__)
        self.spec, self.split, self.views, self.seed = spec, split, views, seed
        self.renderer = renderer if renderer is not None else get_renderer(spec.renderer, **spec.renderer_options)
        self.in_training_process = hasattr(self.renderer, "render_batch")
        tried = None if self.in_training_process else self.renderer  # a GPU is not for several processes
        self.store = find_objects(spec, source, tried, workers, progress)
        self.objects = self.store.select(split)
        self.meshes = MeshMemory(source, spec.cache_megabytes)
        self._failed: set[int] = set()

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, address: Address) -> ViewBatch:
        """One item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """The batch of items at ``addresses``, a list of (epoch, index); images lie where they were rendered."""
        try:
            rows, latents, images = self._render([(epoch, int(self.objects[index])) for epoch, index in addresses])
        except (MeshError, RendererError):
            found = [self._render_or_replace(epoch, index) for epoch, index in addresses]
            rows, latents = (np.concatenate([arrays[i] for arrays in found]) for i in range(2))
            images = torch.cat([arrays[2] for arrays in found])
        return self._assemble(addresses, rows, latents, images)

    def without_images(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses`` with images of size 0: nothing is rendered.

        Args:
            addresses: (epoch, index) of each item.
        """
        rows = np.array([int(self.objects[index]) for _, index in addresses])
        latents = np.stack([self.latents(epoch, row) for (epoch, _), row in zip(addresses, rows, strict=True)])
        return self._assemble(addresses, rows, latents, no_images(latents.shape[:2]))

    def _assemble(
        self, addresses: Sequence[Address], rows: np.ndarray, latents: np.ndarray, images: Tensor
    ) -> ViewBatch:
        views = np.array([epoch for epoch, _ in addresses])[:, None] * self.views + np.arange(self.views)
        return assemble_batch(images, latents, self.store.labels[rows], self.store.schema, rows, views)

    def latents(self, epoch: int, row: int) -> np.ndarray:
        """Draw the latents (V, L) float64 of an object in an epoch.

        Args:
            epoch: from 0.
            row: row of the object.
        """
        index, first = int(self.store.indices[row]), epoch * self.views
        return sample_latents(self.store.schema, self.seed, index, self.views, first)

    def _render(self, visits: Sequence[tuple[int, int]]) -> Rendered:
        """Render the views of visits (epoch, row)."""
        meshes = [self.meshes.load(int(self.store.indices[row])) for _, row in visits]
        latents = np.stack([self.latents(epoch, row) for epoch, row in visits])
        images = self._draw(meshes, [view_parameters(each, self.store.schema.names) for each in latents])
        images = images.view(*latents.shape[:2], *[self.spec.size] * 2, 3).permute(0, 1, 4, 2, 3)
        return np.array([row for _, row in visits]), latents, images

    def _draw(self, meshes: Sequence[Mesh], views: Sequence[Sequence[ViewParameters]]) -> Tensor:
        renderer: Any = self.renderer
        if self.in_training_process:
            return renderer.render_batch(meshes, views, self.spec.size)
        pictures = [renderer.render(mesh, each, self.spec.size) for mesh, each in zip(meshes, views, strict=True)]
        return torch.from_numpy(np.stack(pictures))

    def _render_or_replace(self, epoch: int, index: int) -> Rendered:
        """One item, of the next object of the split where it fails."""
        for step in range(len(self.objects)):
            row = int(self.objects[(index + step) % len(self.objects)])
            try:
                return self._render([(epoch, row)])
            except (MeshError, RendererError) as error:
                self._note(row, error)
        raise RendererError(f"none of the {len(self.objects)} objects of split {self.split!r} can be rendered any more")

    def _note(self, row: int, error: Exception) -> None:
        if row not in self._failed:
            self._failed.add(row)
            name = self.meshes.source.entry(int(self.store.indices[row])).name
            logger.warning("%s cannot be rendered any more, another object takes its place: %s", name, error)
