"""Building a view store from meshes: render in shards, then join them.

Shards live in ``OUT.parts`` until the finished file has its name. Every file is written under a temporary name, synced
and renamed, and every view has its own seed: a build that is killed at any moment and started again ends with the bytes
of an uninterrupted one, whatever the number of workers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from equissl.datasets.build_shard import ShardJob, WorkerError, run_shards
from equissl.datasets.build_spec import BuildSpec, build_header, describe_build, differences
from equissl.datasets.disk import disk_full, full_disk_message, sync_folder
from equissl.datasets.meshes import MeshSource, get_mesh_source
from equissl.datasets.progress import Progress
from equissl.datasets.split import split_objects
from equissl.datasets.store import StoreContents, read_contents
from equissl.datasets.store_format import StoreError
from equissl.datasets.store_writer import ViewStoreWriter, concatenate, copy_blob
from equissl.renderers import Renderer, get_renderer

__all__ = ["BuildError", "BuildReport", "BuildSpec", "WorkerError", "build_views"]


class BuildError(RuntimeError):
    """A build that cannot start or end as asked; the message says why and what to do."""


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        path: the finished store.
        num_objects, num_images: in it.
        skipped: (name, reason) of each mesh that could not be used.
        seconds: this call took.
        already_complete: whether the file was there before.
    """

    path: Path
    num_objects: int
    num_images: int
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    already_complete: bool = False


def build_views(
    spec: BuildSpec,
    out: Path | str,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    source: MeshSource | None = None,
    renderer: Renderer | None = None,
) -> BuildReport:
    """Renders ``spec`` to the store ``out``, going on where an earlier call with the same spec stopped.

    Args:
        spec: what to build.
        out: the ``.h5`` file; ``out.parts`` beside it holds unfinished work.
        workers: rendering processes (default one per core); 0 renders in this process. A script that uses processes
            needs ``if __name__ == "__main__":``.
        progress: show how far it is, on standard error.
        overwrite: replace a finished file, and unfinished work of another spec.
        source, renderer: in place of those that ``spec`` names; picklable where ``workers`` > 0.

    Raises:
        BuildError: ``out`` or unfinished work belongs to another spec (the difference is shown), another process builds
            it now, or no mesh could be used.
        WorkerError: a rendering process died, or failed on the object named.
        OSError: the disk is full: how much is needed and free. Finished shards are kept in all of these cases.
    """
    start, out = time.monotonic(), Path(out)
    source = source if source is not None else get_mesh_source(spec.meshes, spec.objects, spec.seed, spec.classes)
    renderer = renderer if renderer is not None else get_renderer(spec.renderer, **spec.renderer_options)
    _check_source(spec, source)
    description = describe_build(spec, source, renderer)
    job = ShardJob(spec, source, renderer, build_header(spec, source, description), Path(f"{out}.parts"))
    with Progress(len(source) * spec.views, f"rendering {out.name}", "img", progress) as bar:
        if not overwrite and (finished := _finished(out, description)):
            shutil.rmtree(job.folder, ignore_errors=True)
            bar.say(f"{out} is complete already: {finished.num_objects} objects, {finished.num_images} images")
            return replace(finished, seconds=time.monotonic() - start)
        with _parts_folder(job, description, overwrite):
            _clean(out, job)
            with _say_what_is_kept(job):
                _render_missing(job, out, workers, bar)
                report = _join(job, out)
            shutil.rmtree(job.folder)
        for name, reason in report.skipped:
            bar.say(f"skipped {name}: {reason}")
    return replace(report, seconds=time.monotonic() - start)


def _check_source(spec: BuildSpec, source: MeshSource) -> None:
    if not len(source):
        raise BuildError(f"expected meshes in {spec.meshes!r}, found none")
    split_objects(  # its complaints before the rendering, not after
        [source.entry(i).label for i in range(len(source))],
        [source.entry(i).source for i in range(len(source))],
        spec.val_fraction,
        spec.seed,
        spec.val_source,
    )


def _finished(out: Path, description: dict) -> BuildReport | None:
    """The report of a file that is there already; None when there is none."""
    if not out.exists():
        return None
    try:
        contents = read_contents(out)
    except StoreError as error:
        raise BuildError(f"{out} is in the way and is not overwritten without being told to: {error}") from error
    found = contents.header.attributes.get("build", {})
    if found != description:
        raise BuildError(
            f"{out} holds another build and is not overwritten without being told to:\n"
            f"{differences(found, description)}"
        )
    return _report(out, contents)


def _report(out: Path, contents: StoreContents) -> BuildReport:
    tables = contents.tables
    return BuildReport(out, len(tables.labels), tables.sizes.size, list(tables.skipped), already_complete=True)


@contextmanager
def _parts_folder(job: ShardJob, description: dict, overwrite: bool) -> Iterator[None]:
    """The folder of unfinished work, held by this process alone and known to belong to this build."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"another process is building into {job.folder}") from None
        _claim(job, description | {"shard_size": job.spec.shard_size}, overwrite)
        yield


def _claim(job: ShardJob, description: dict, overwrite: bool) -> None:
    spec_file = job.folder / "spec.json"
    found = json.loads(spec_file.read_text()) if spec_file.exists() else None
    if found not in (None, description):
        if not overwrite:
            raise BuildError(
                f"{job.folder} holds unfinished work of another build: finish that with its own settings, or delete "
                f"the folder:\n{differences(found, description)}"
            )
        for shard in job.folder.glob("shard-*"):
            shard.unlink()
    if found != description:
        temporary = spec_file.with_name(f"spec.json.tmp-{os.getpid()}")
        with full_disk_message(spec_file, 1 << 20):
            temporary.write_text(json.dumps(description, indent=1, sort_keys=True))
        temporary.replace(spec_file)
        sync_folder(job.folder)


def _clean(out: Path, job: ShardJob) -> None:
    """Removes what a killed run left half written."""
    for leftover in (*out.parent.glob(f"{out.name}.tmp-*"), *job.folder.glob("*.tmp-*")):
        leftover.unlink(missing_ok=True)


def _render_missing(job: ShardJob, out: Path, workers: int | None, bar: Progress) -> None:
    missing = [shard for shard in range(job.count) if not _is_whole(job.path(shard), bar)]
    objects = sum(len(job.objects(shard)) for shard in missing)
    if (finished := len(job.source) - objects) and missing:
        bar.say(f"continuing: {finished} of {len(job.source)} objects are rendered already")
    bar.skip(finished * job.spec.views)
    needed = (
        (objects + len(job.source)) * job.spec.views * job.spec.bytes_per_image
    )  # shards, and the file joined of all
    if shutil.disk_usage(out.parent).free < needed:
        raise disk_full(out, needed)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    for shard in run_shards(job, missing, workers if missing else 0):
        bar.update(len(job.objects(shard)) * job.spec.views)


def _is_whole(path: Path, bar: Progress) -> bool:
    if not path.exists():
        return False
    try:
        read_contents(path)
    except StoreError as error:
        bar.say(f"rendering {path.name} again: {error}")
        path.unlink()
        return False
    return True


@contextmanager
def _say_what_is_kept(job: ShardJob) -> Iterator[None]:
    kept = f"finished shards are kept in {job.folder}: the same command continues from there"
    try:
        yield
    except WorkerError as error:
        raise WorkerError(f"{error}\n{kept}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(errno.ENOSPC, f"{error.strerror}; {kept}", error.filename) from error


def _join(job: ShardJob, out: Path) -> BuildReport:
    """Joins the shards to the finished file."""
    parts = [(job.path(shard), read_contents(job.path(shard))) for shard in range(job.count)]
    tables = concatenate([contents.tables for _, contents in parts])
    if not len(tables.labels):
        shutil.rmtree(job.folder)  # nothing in it is worth keeping, and the meshes may be mended
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in tables.skipped[:10])
        raise BuildError(f"none of the {len(job.source)} meshes of {job.spec.meshes!r} could be used:\n{reasons}")
    spec = job.spec
    split = split_objects(tables.labels, tables.sources, spec.val_fraction, spec.seed, spec.val_source)
    tables = replace(tables, split=split)
    with ViewStoreWriter(out, job.header, tables) as writer:
        for path, contents in parts:
            copy_blob(path, contents.start, int(contents.tables.sizes.sum()), writer)
    return BuildReport(out, len(tables.labels), tables.sizes.size, list(tables.skipped))
