"""Rendering of one shard by a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.meshes.mesh import Mesh, MeshError, without_name
from equissl.datasets.meshes.source import MeshSource
from equissl.datasets.splits import TRAIN
from equissl.datasets.views.bias import Bias
from equissl.datasets.views.build.spec import BuildSpec
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.store.format import StoreHeader
from equissl.datasets.views.store.reader import read_contents
from equissl.datasets.views.store.tables import ObjectRecord
from equissl.datasets.views.store.writer import write_records
from equissl.renderers.base import Renderer, RendererError
from equissl.renderers.cloud import sample_cloud
from equissl.renderers.counting import render_counted
from equissl.renderers.scene import view_parameters
from equissl.util.job import Begun, Tell, WorkerError

_CLOUD = 0  # key of the stream of an object's cloud


@dataclass(frozen=True)
class ShardJob:
    """A build, cut into shards. Picklable."""

    spec: BuildSpec
    source: MeshSource
    renderer: Renderer
    header: StoreHeader
    folder: Path

    @property
    def count(self) -> int:
        return -(-len(self.source) // self.spec.shard_size)

    def path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:06d}.h5"

    def check(self, shard: int) -> None:
        """Raise a StoreError for a shard that is damaged."""
        read_contents(self.path(shard))

    def items(self, shard: int) -> range:
        """Return the objects of a shard."""
        start = shard * self.spec.shard_size
        return range(start, min(start + self.spec.shard_size, len(self.source)))

    def units(self, shard: int) -> int:
        """Return the images of a shard."""
        return len(self.items(shard)) * self.spec.views

    def describe(self, shard: int, index: int) -> str:
        """Return the number and the name of an object.

        Args:
            shard: number of the shard.
            index: number of the object in the mesh source.
        """
        return f"object {index} ({self.source.entry(index).name})"

    def run(self, shard: int, given_up: Mapping[int, str], tell: Tell) -> None:
        """Render and write one shard.

        Args:
            shard: its number.
            given_up: objects to leave out, with the reason.
            tell: is told what is begun.

        Raises:
            WorkerError: naming an object that failed for a reason other than its mesh.
            OSError: for a full disk.
        """
        records, skipped = [], []
        for index in self.items(shard):
            try:
                if index in given_up:
                    raise MeshError(given_up[index])
                records.append(self.render(index, tell))
            except (MeshError, RendererError) as error:
                name = self.source.entry(index).name
                skipped.append((name, without_name(str(error), name)))
            except Exception as error:
                raise WorkerError(f"{self.describe(shard, index)}: {type(error).__name__}: {error}") from error
        tell(None)
        write_records(self.path(shard), self.header, records, skipped)

    def render(self, index: int, tell: Tell = lambda begun: None) -> ObjectRecord:
        """Render an object with all its views.

        Args:
            index: number of the object in the mesh source.
            tell: called with the work that is begun.
        """
        entry, spec = self.source.entry(index), self.spec
        latents = self.latents(index)
        parameters = view_parameters(latents, spec.schema.names)
        tell(Begun(index, "reading the mesh"))
        mesh = self.source.load(index)
        tell(Begun(index, f"rendering {spec.views} views", spec.views))
        rendered = render_counted(self.renderer, mesh, parameters, spec.size)
        return ObjectRecord(
            name=entry.name,
            label=entry.label,
            latents=latents,
            images=[self.header.encode(image) for image in rendered.images],
            index=index,
            source=entry.source,
            licence=entry.licence,
            creator=entry.creator,
            object_pixels=rendered.object_pixels,
            warnings=mesh.warnings,
            cloud=self.cloud(mesh, index),
        )

    def cloud(self, mesh: Mesh, index: int) -> Cloud | None:
        """Draw the points of an object's cloud, from a stream apart from those of its views; None without points.

        Args:
            mesh: of the object.
            index: number of the object in the mesh source.
        """
        if self.spec.points is None:
            return None
        stream = np.random.SeedSequence([self.spec.seed, index], spawn_key=(_CLOUD,))
        return sample_cloud(mesh, self.spec.points, np.random.default_rng(stream))

    def latents(self, index: int) -> np.ndarray:
        """Draw the latents (V, L) of an object's views, biased where the store is and the object is not held out.

        Args:
            index: number of the object in the mesh source.
        """
        spec, schema = self.spec, self.spec.schema
        latents = sample_latents(schema, spec.seed, index, spec.views)
        if spec.bias is None or self._split[index] != TRAIN:
            return latents
        label, classes = self.source.entry(index).label, len(self.source.classes)
        return Bias.parse(spec.bias).apply(latents, schema, label, classes, spec.seed, index)

    @cached_property
    def _split(self) -> np.ndarray:
        return self.spec.split(self.source, range(len(self.source)))
