"""Objects that can be rendered during training: found before it begins, with the split of a build."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.mesh import MeshError
from equissl.datasets.meshes.source import MeshSource, MeshSourceError
from equissl.datasets.views.build.spec import ViewSpec
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import LatentSchema
from equissl.datasets.views.split import select_split
from equissl.renderers.base import Renderer, RendererError
from equissl.renderers.scene import view_parameters
from equissl.util.job import Begun, Tell
from equissl.util.progress import Progress
from equissl.util.workers import run_parts

_OBJECTS, _SIZE = 16, 16  # of one part of the check; of its pictures
_NAMED = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveObjects:
    """Usable objects of a mesh source, numbered as the rows of a store built of the same meshes would be.

    Attributes:
        path: the meshes' name, in place of a store's path.
        classes, schema: as a store has them.
        indices: (N,) position of each object in its mesh source; it seeds the latents.
        labels: (N,) int64.
        split: (N,) uint8: 0 train, 1 val.
        skipped: (name, reason) of each mesh that is left out.
    """

    path: Path
    classes: tuple[str, ...]
    schema: LatentSchema
    indices: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()

    def select(self, split: str | None) -> np.ndarray:
        """Objects of ``train``, ``val``, or None for all; see :func:`equissl.datasets.views.split.select_split`."""
        return select_split(self.split, split, str(self.path))


@dataclass(frozen=True)
class CheckJob:
    """Check of a mesh: read it, and render one small view of it where a renderer is given. Picklable."""

    spec: ViewSpec
    source: MeshSource
    renderer: Renderer | None

    @property
    def count(self) -> int:
        return -(-len(self.source) // _OBJECTS)

    def items(self, part: int) -> range:
        """Objects of a part."""
        return range(part * _OBJECTS, min((part + 1) * _OBJECTS, len(self.source)))

    def describe(self, part: int, index: int) -> str:
        """Return the number and the name of an object.

        Args:
            part: number of the part.
            index: number of the object in the mesh source.
        """
        return f"object {index} ({self.source.entry(index).name})"

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> list[tuple[int, str]]:
        """Return (index, reason) of each unusable mesh of a part.

        Args:
            part: number of the part.
            given_up: objects that ended or stalled a process, each with the reason.
            tell: called with the work that is begun.
        """
        found = []
        for index in self.items(part):
            tell(Begun(index, "checking the mesh"))
            try:
                if index in given_up:
                    raise MeshError(given_up[index])
                self._try(index)
            except (MeshError, RendererError) as error:
                found.append((index, str(error)))
        tell(None)
        return found

    def _try(self, index: int) -> None:
        mesh, schema = self.source.load(index), self.spec.schema
        if self.renderer is not None:
            view = view_parameters(sample_latents(schema, self.spec.seed, index, 1), schema.names)
            self.renderer.render(mesh, view, _SIZE)


def find_objects(
    spec: ViewSpec, source: MeshSource, renderer: Renderer | None, workers: int = 0, progress: bool = True
) -> LiveObjects:
    """Try every mesh once and leave out those that a build would leave out, so that training meets none of them.

    Reading them fills the cache of decoded meshes, from which they come quickly afterwards.

    Args:
        spec: spec of the views.
        source: source of meshes.
        renderer: to try them with; None reads them only.
        workers: processes; 0 tries them in this one, without limits.
        progress: show how far it is, on standard error.

    Raises:
        MeshSourceError: no mesh can be used.
        WorkerError: processes died repeatedly over the objects named.
    """
    job = CheckJob(spec, source, renderer)
    bad: dict[int, str] = {}
    with Progress(len(source), f"checking {spec.meshes}", "mesh", progress) as bar:
        for part, found in run_parts(job, range(job.count), workers):
            bad |= dict(found)
            bar.update(len(job.items(part)))
    skipped = tuple((source.entry(index).name, bad[index]) for index in sorted(bad))
    indices = np.array([index for index in range(len(source)) if index not in bad], dtype=np.int64)
    _report(spec, skipped, len(indices))
    labels = np.array([source.entry(int(index)).label for index in indices], dtype=np.int64)
    split = spec.split(source, indices.tolist())
    return LiveObjects(Path(spec.meshes), tuple(source.classes), spec.schema, indices, labels, split, skipped)


def _report(spec: ViewSpec, skipped: tuple[tuple[str, str], ...], usable: int) -> None:
    named = "\n".join(f"  {name}: {reason}" for name, reason in skipped[:_NAMED])
    if not usable:
        raise MeshSourceError(f"none of the {len(skipped)} meshes of {spec.meshes!r} can be rendered:\n{named}")
    if skipped:
        more = f"\n  and {len(skipped) - _NAMED} more" * (len(skipped) > _NAMED)
        logger.warning("%d of %d meshes are left out:\n%s%s", len(skipped), len(skipped) + usable, named, more)
