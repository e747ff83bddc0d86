"""Rendering one shard: what every worker knows and does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from equissl.datasets.meshes.mesh import MeshError
from equissl.datasets.meshes.source import MeshSource
from equissl.datasets.views.build.spec import BuildSpec
from equissl.datasets.views.build.worker import Begun, WorkerError
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.store.format import StoreHeader
from equissl.datasets.views.store.writer import ObjectRecord, write_records
from equissl.renderers.base import Renderer, RendererError
from equissl.renderers.scene import view_parameters


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

    def objects(self, shard: int) -> range:
        start = shard * self.spec.shard_size
        return range(start, min(start + self.spec.shard_size, len(self.source)))

    def name(self, index: int) -> str:
        return self.source.entry(index).name

    def run(self, shard: int, given_up: Mapping[int, str], tell: Callable[[Begun | None], None]) -> None:
        """Renders and writes one shard.

        Args:
            shard: its number.
            given_up: objects to leave out, with the reason.
            tell: is told what is begun.

        Raises:
            WorkerError: naming an object that failed for a reason other than its mesh.
            OSError: for a full disk.
        """
        records, skipped = [], []
        for index in self.objects(shard):
            try:
                if index in given_up:
                    raise MeshError(given_up[index])
                records.append(self.render(index, tell))
            except (MeshError, RendererError) as error:
                skipped.append((self.name(index), str(error)))
            except Exception as error:
                raise WorkerError(f"object {index} ({self.name(index)}): {type(error).__name__}: {error}") from error
        tell(None)
        write_records(self.path(shard), self.header, records, skipped)

    def render(self, index: int, tell: Callable[[Begun | None], None] = lambda begun: None) -> ObjectRecord:
        """One object with all its views."""
        entry, spec = self.source.entry(index), self.spec
        latents = sample_latents(spec.schema, spec.seed, index, spec.views)
        parameters = view_parameters(latents, spec.schema.names)
        tell(Begun(index, "reading the mesh"))
        mesh = self.source.load(index)
        tell(Begun(index, f"rendering {spec.views} views", spec.views))
        pictures = self.renderer.render(mesh, parameters, spec.size)
        return ObjectRecord(
            name=entry.name,
            label=entry.label,
            latents=latents,
            images=[self.header.encode(picture) for picture in pictures],
            index=index,
            source=entry.source,
            licence=entry.licence,
            creator=entry.creator,
        )
