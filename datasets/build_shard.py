"""Rendering one shard, in this process or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_handles
from pathlib import Path

from equissl.datasets.build_spec import BuildSpec
from equissl.datasets.latents import sample_latents
from equissl.datasets.meshes.mesh import MeshError
from equissl.datasets.meshes.source import MeshSource
from equissl.datasets.store_format import StoreHeader
from equissl.datasets.store_writer import ObjectRecord, write_records
from equissl.renderers.base import Renderer, RendererError
from equissl.renderers.scene import view_parameters

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class WorkerError(RuntimeError):
    """A rendering process died, or an object could not be rendered for a reason other than its mesh."""


@dataclass(frozen=True)
class ShardJob:
    """What every worker knows. Picklable."""

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

    def run(self, shard: int) -> int:
        """Renders and writes one shard; returns its number."""
        records, skipped = [], []
        for index in self.objects(shard):
            try:
                records.append(self.render(index))
            except (MeshError, RendererError) as error:
                skipped.append((self.source.entry(index).name, str(error)))
            except Exception as error:
                name = self.source.entry(index).name
                raise WorkerError(f"object {index} ({name}): {type(error).__name__}: {error}") from error
        write_records(self.path(shard), self.header, records, skipped)
        return shard

    def render(self, index: int) -> ObjectRecord:
        """One object with all its views."""
        entry, spec = self.source.entry(index), self.spec
        latents = sample_latents(spec.schema, spec.seed, index, spec.views)
        parameters = view_parameters(latents, spec.schema.names)
        pictures = self.renderer.render(self.source.load(index), parameters, spec.size)
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


def run_shards(job: ShardJob, shards: Sequence[int], workers: int) -> Iterator[int]:
    """Runs ``shards`` and yields each as it is finished, in any order.

    With ``workers`` = 0 in this process; else in that many new processes of one thread each, which end when this one
    does. On an error no new shard is begun and those under way are finished.

    Raises:
        WorkerError: naming the object, or saying that a process died.
        OSError: for a full disk.
    """
    if workers == 0:
        yield from map(job.run, shards)
        return
    context = multiprocessing.get_context("spawn")
    with (
        one_thread_environment(),
        ProcessPoolExecutor(min(workers, max(1, len(shards))), context, _start_worker, (job,)) as pool,
    ):
        pending = {pool.submit(_run_in_worker, shard) for shard in shards}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (_result(future) for future in done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[int]) -> int:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a rendering process died: killed, out of memory (fewer workers need less), or started from a script "
            "without `if __name__ == '__main__':`"
        ) from error


_job: ShardJob | None = None


def _start_worker(job: ShardJob) -> None:
    global _job
    _job = job
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _run_in_worker(shard: int) -> int:
    assert _job is not None
    return _job.run(shard)


def _end_with_parent() -> None:
    """A pool's processes would otherwise wait for ever for a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_handles([parent.sentinel])
        os._exit(1)


@contextmanager
def one_thread_environment() -> Iterator[None]:
    """Variables that a new process reads at its start: one thread per process is fastest."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
