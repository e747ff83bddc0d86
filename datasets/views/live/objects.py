"""Objects that can be rendered during training: found before it begins, with the split of a build."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.mesh import MeshError, without_name
from equissl.datasets.meshes.source import MeshSource, MeshSourceError, notes_of
from equissl.datasets.views.build.spec import ViewSpec
from equissl.datasets.views.findings import SmallViews, group_warnings, skipped_lines, small_view_lines
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import LatentSchema
from equissl.datasets.views.split import select_split
from equissl.renderers.base import Renderer, RendererError
from equissl.renderers.counting import PixelCounter, count_object_pixels
from equissl.renderers.scene import view_parameters
from equissl.util.job import Begun, Tell
from equissl.util.progress import Progress
from equissl.util.ranks import process_rank
from equissl.util.workers import run_parts

_OBJECTS, _SIZE = 16, 16  # of one part of the check; of the pictures of renderers that do not count
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
        warnings: (name, warning) of each that is not, with what was missing or repaired.
        object_pixels: (N,) pixels that show the object in its first view.
    """

    path: Path
    classes: tuple[str, ...]
    schema: LatentSchema
    indices: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    object_pixels: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()

    def select(self, split: str | None) -> np.ndarray:
        """Objects of ``train``, ``val``, or None for all; see :func:`equissl.datasets.views.split.select_split`."""
        return select_split(self.split, split, str(self.path))


@dataclass(frozen=True)
class Checked:
    """Outcome of the check of a mesh.

    Attributes:
        reason: why it cannot be used; None where it can.
        warnings: what was missing or repaired when it was read.
        object_pixels: that show it in its first view.
    """

    reason: str | None = None
    warnings: tuple[str, ...] = ()
    object_pixels: int = 0


@dataclass(frozen=True)
class CheckJob:
    """Check of a mesh: read it, and render one view of it where a renderer is given. Picklable."""

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

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> list[Checked]:
        """Check each mesh of a part.

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
                found.append(self._try(index))
            except (MeshError, RendererError) as error:
                found.append(Checked(without_name(str(error), self.source.entry(index).name)))
        tell(None)
        return found

    def _try(self, index: int) -> Checked:
        mesh, schema = self.source.load(index), self.spec.schema
        view = view_parameters(sample_latents(schema, self.spec.seed, index, 1), schema.names)
        if isinstance(self.renderer, PixelCounter):
            pixels = self.renderer.render_counted(mesh, view, self.spec.size).object_pixels
        else:
            if self.renderer is not None:
                self.renderer.render(mesh, view, _SIZE)
            pixels = count_object_pixels(mesh, view, self.spec.size)
        return Checked(None, mesh.warnings, int(pixels[0]))


def find_objects(
    spec: ViewSpec, source: MeshSource, renderer: Renderer | None, workers: int = 0, progress: bool = True
) -> LiveObjects:
    """Try every mesh once and leave out those that a build would leave out, so that training meets none of them.

    Reading them fills the cache of decoded meshes, from which they come quickly afterwards. What users should know is
    logged as warnings, each kind once and counted.

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
    checked: dict[int, Checked] = {}
    with Progress(len(source), f"checking {spec.meshes}", "mesh", progress) as bar:
        for part, found in run_parts(job, range(job.count), workers):
            checked |= dict(zip(job.items(part), found, strict=True))
            bar.update(len(job.items(part)))
    usable = [index for index in range(len(source)) if checked[index].reason is None]
    names = {index: source.entry(index).name for index in checked}
    skipped = tuple((names[i], reason) for i in sorted(checked) if (reason := checked[i].reason) is not None)
    if not usable:
        named = "\n".join(f"  {line}" for line in skipped_lines(skipped))
        raise MeshSourceError(f"none of the {len(skipped)} meshes of {spec.meshes!r} can be rendered:\n{named}")
    objects = LiveObjects(
        path=Path(spec.meshes),
        classes=tuple(source.classes),
        schema=spec.schema,
        indices=np.array(usable, dtype=np.int64),
        labels=np.array([source.entry(index).label for index in usable], dtype=np.int64),
        split=spec.split(source, usable),
        object_pixels=np.array([checked[index].object_pixels for index in usable]),
        skipped=skipped,
        warnings=tuple((names[i], warning) for i in usable for warning in dict.fromkeys(checked[i].warnings)),
    )
    _tell(spec, objects, source)
    return objects


def _tell(spec: ViewSpec, objects: LiveObjects, source: MeshSource) -> None:
    """Log what the user should know, in one process of several."""
    if process_rank():
        return
    small = np.flatnonzero(objects.object_pixels < spec.min_coverage * spec.size**2)
    named = [source.entry(int(objects.indices[row])).name for row in small]
    views = [SmallViews(name, (0,), (int(objects.object_pixels[row]),)) for name, row in zip(named, small, strict=True)]
    for line in (
        *notes_of(source),
        *skipped_lines(objects.skipped),
        *(str(group) for group in group_warnings(objects.warnings)),
        *small_view_lines(views, len(objects.indices), spec.min_coverage),
    ):
        logger.warning("%s", line)
