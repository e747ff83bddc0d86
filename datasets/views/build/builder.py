"""Building of a view store from meshes: rendering in shards, then joining them.

Shards are the parts of :mod:`equissl.util.parts`, and every view has its own seed: a build that is killed at any moment
and started again ends with the bytes of an uninterrupted one, whatever the number of workers, of jobs that share it, or
of machines.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equissl.datasets.meshes import MeshLimits, MeshSource, get_mesh_source
from equissl.datasets.views.build.report import BuildReport
from equissl.datasets.views.build.shard import ShardJob
from equissl.datasets.views.build.spec import BuildSpec, build_header, describe_build
from equissl.datasets.views.findings import skipped_lines
from equissl.datasets.views.store.format import StoreError
from equissl.datasets.views.store.index import write_index
from equissl.datasets.views.store.reader import StoreContents, read_contents
from equissl.datasets.views.store.tables import StoreTables, concatenate
from equissl.datasets.views.store.writer import ViewStoreWriter, cloud_sizes, copy_blob
from equissl.renderers import Renderer, get_renderer
from equissl.util.files import check_space, remove_temporary
from equissl.util.job import Limits
from equissl.util.parts import check_same, find_missing, make_parts
from equissl.util.parts_folder import PartsFolder, Share, folder_of, parts_folder
from equissl.util.progress import Progress
from equissl.util.workers import Engine

logger = logging.getLogger(__name__)


class BuildError(RuntimeError):
    """A build that cannot start or end as asked; the message says why and what to do."""


def build_views(
    spec: BuildSpec,
    out: Path | str,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    source: MeshSource | None = None,
    renderer: Renderer | None = None,
    shard: str | None = None,
    engine: Engine = "processes",
    mesh_seconds: float | None = 300.0,
    restart_after: int = 1000,
    join: bool = True,
) -> BuildReport:
    """Render ``spec`` to the store ``out``; continue where an earlier call with the same spec stopped.

    What users should know is logged as warnings at the end, each kind once and counted: meshes left out, what was
    missing in others, near-empty views, files that no reader takes. The store keeps all of it.

    Args:
        spec: what to build.
        out: the ``.h5`` file; ``out.parts`` beside it holds unfinished work.
        workers: rendering processes (default one per core); 0 renders in this process, without limits. A script that
            uses processes needs ``if __name__ == "__main__":``.
        progress: show how far it is, on standard error.
        overwrite: replace a finished file, and unfinished work of another spec.
        source, renderer: in place of those that ``spec`` names; picklable where ``workers`` > 0.
        shard: ``i/n`` renders one of n shares of the work, for arrays of jobs that see the same folder; i counts from 0
            or from 1. The last job to end joins all; the same call without ``shard`` renders what is missing.
        engine: ``processes`` of this machine, or ``ray``: on a Ray cluster whose machines see the same files.
        mesh_seconds: an object is left out, and named at the end, when reading its mesh takes longer, or rendering it
            takes longer for each view on average; none waits for ever.
        restart_after: objects after which a rendering process is replaced by a new one, against leaks.
        join: copy the shards to one file. Without it they stay in ``out.parts``, which ``ViewStore`` opens as it is.

    Raises:
        BuildError: ``out`` is another file, or no mesh could be used.
        PartsError: ``out`` or unfinished work belongs to another spec (the difference is shown), or another process
            builds it now.
        WorkerError: rendering processes died repeatedly over the objects named, or one failed on an object.
        OSError: the disk is full: how much is needed and free. Finished shards are kept in all of these cases.
    """
    start, out, share = time.monotonic(), Path(out), Share.parse(shard)
    limits = Limits(mesh_seconds, restart_after)
    if overwrite and not share.whole:
        raise BuildError(f"jobs of an array cannot overwrite: delete {out} and {out}.parts before they start")
    if source is None:
        per_mesh = MeshLimits(seconds=mesh_seconds)
        source = get_mesh_source(spec.meshes, spec.objects, spec.seed, spec.classes, up=spec.up, limits=per_mesh)
    renderer = renderer if renderer is not None else get_renderer(spec.renderer, **spec.renderer_options)
    _check_source(spec, source)
    description = describe_build(spec, source, renderer)
    job = ShardJob(spec, source, renderer, build_header(spec, source, description), folder_of(out))
    unfinished = description | {"shard_size": spec.shard_size}
    total = sum(job.units(shard) for shard in share.parts(job.count))
    with Progress(total, f"rendering {out.name}", "img", progress) as bar:
        report = None if overwrite else _already(out, description, job, bar)
        if report is None:
            with parts_folder(out, unfinished, overwrite, share) as folder:
                # another job of an array may have ended the build while this one waited
                report = None if share.whole else _already(out, description, job, bar)
                report = report or _build(job, folder, out, workers, limits, engine, join, bar)
    report = replace(report, seconds=time.monotonic() - start)
    for line in report.lines():
        logger.warning("%s", line)
    return report


def _build(
    job: ShardJob,
    folder: PartsFolder,
    out: Path,
    workers: int | None,
    limits: Limits,
    engine: Engine,
    join: bool,
    bar: Progress,
) -> BuildReport:
    shards = folder.share.parts(job.count)
    folder.clean([job.path(shard) for shard in shards])
    missing = find_missing(job, shards, bar)
    # and room for the joined file; of an array, the last job sees to that
    room = sum(len(job.items(shard)) for shard in missing)
    room += len(job.source) if join and folder.share.whole else 0
    check_space(out, room * job.spec.bytes_per_object)
    make_parts(job, shards, bar, missing, workers, limits, engine)
    alone = folder.alone()  # before the next line, so that of two jobs that end at once one sees all shards
    if not alone or find_missing(job, range(job.count), bar):
        return _report_share(job, folder.share, out)
    remove_temporary(out)
    report = _join(job, out) if join else _index(job)
    if join:
        shutil.rmtree(job.folder)
    return report


def _check_source(spec: BuildSpec, source: MeshSource) -> None:
    if not len(source):
        raise BuildError(f"expected meshes in {spec.meshes!r}, found none")
    if spec.bias is not None and len(source.classes) < 2:
        raise BuildError(f"a bias binds a hue to the class: expected meshes of at least 2, got {list(source.classes)}")
    spec.split(source, range(len(source)))  # its complaints before the rendering, not after


def _already(out: Path, description: dict, job: ShardJob, bar: Progress) -> BuildReport | None:
    """Return the report of a file that is there; None when there is none."""
    report = _finished(out, description, job)
    if report is not None:
        shutil.rmtree(job.folder, ignore_errors=True)
        bar.say(f"{out} is complete already: {report.num_objects} objects, {report.num_images} images")
    return report


def _finished(out: Path, description: dict, job: ShardJob) -> BuildReport | None:
    if not out.exists():
        return None
    try:
        contents = read_contents(out)
    except StoreError as error:
        raise BuildError(f"{out} is in the way and is not overwritten without being told to: {error}") from error
    check_same(out, contents.header.attributes.get("build"), description)
    return replace(_report(out, contents.tables, replace(job, header=contents.header)), already_complete=True)


def _report(path: Path, tables: StoreTables, job: ShardJob) -> BuildReport:
    return BuildReport.of(path, tables, job.header, job.spec.min_coverage)


def _report_share(job: ShardJob, share: Share, out: Path) -> BuildReport:
    tables = [read_contents(path).tables for n in share.parts(job.count) if (path := job.path(n)).exists()]
    missing = sum(not job.path(shard).exists() for shard in range(job.count))
    report = _report(out, concatenate(tables), job) if tables else BuildReport(out, 0, 0)
    return replace(report, missing=missing, joined=False)


def _join(job: ShardJob, out: Path) -> BuildReport:
    """Join the shards to the finished file."""
    parts = [read_contents(job.path(shard)) for shard in range(job.count)]
    tables = _joined_tables(job, parts)
    with ViewStoreWriter(out, job.header, tables) as writer:
        for part in parts:
            if part.positions.size:
                copy_blob(part.files[0], int(part.positions[0]), int(part.tables.sizes.sum()), writer)
                for name, size in cloud_sizes(part.header, len(part.tables.labels)).items():
                    copy_blob(part.files[0], part.clouds[0][name], size, writer, name)
    return _report(out, tables, job)


def _index(job: ShardJob) -> BuildReport:
    """Leave the shards as they are, with an index that makes them one store."""
    paths = [job.path(shard) for shard in range(job.count)]
    tables = _joined_tables(job, [read_contents(path) for path in paths])
    write_index(job.folder, paths, tables.split)
    return _report(job.folder, tables, job)


def _joined_tables(job: ShardJob, parts: Sequence[StoreContents]) -> StoreTables:
    tables = concatenate([part.tables for part in parts])
    if not len(tables.labels):
        shutil.rmtree(job.folder)  # nothing in it is worth keeping, and the meshes may be mended
        reasons = "\n".join(f"  {line}" for line in skipped_lines(tables.skipped))
        raise BuildError(f"none of the {len(job.source)} meshes of {job.spec.meshes!r} could be used:\n{reasons}")
    return replace(tables, split=job.spec.split(job.source, tables.indices.tolist()))
