"""Rates of each kind of renderer in images per second: processes on the cores, a torch device, Blender."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from equissl.datasets.meshes import MeshSource, get_mesh_source
from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import threediebench_schema
from equissl.renderers import RendererError, ViewParameters, get_renderer, view_parameters
from equissl.util.machine import processor_name

if TYPE_CHECKING:
    from equissl.renderers.torch_renderer import TorchRenderer

VIEWS_PER_OBJECT = 25
GPU_OBJECTS = 200  # different meshes that a GPU is measured with, at least


@dataclass(frozen=True)
class Rate:
    """Measured rate of a renderer.

    Attributes:
        images_per_s: with reading meshes and building ray-tracing structures.
        images, objects: how many it was measured with.
        where: processor or GPU, for reports.
        resident_images_per_s: with the meshes in device memory already, as in live rendering; None where that is not
            measured.
    """

    images_per_s: float
    images: int
    objects: int
    where: str
    resident_images_per_s: float | None = None


def views_of(index: int, count: int) -> list[ViewParameters]:
    """Sample the first views of an object of 3DIEBench's distributions.

    Args:
        index: number of the object.
        count: number of views.
    """
    schema = threediebench_schema()
    return view_parameters(sample_latents(schema, 0, index, count), schema.names)


def machine() -> str:
    """Describe cores and processor, for reports."""
    return f"{os.cpu_count()} x {processor_name()}"


def process_rate(renderer: str, options: Mapping[str, Any], meshes: str, images: int, size: int, workers: int) -> Rate:
    """Measure one process per core with one thread in each; starting them is not counted.

    Args:
        renderer: name of the renderer.
        options: of the renderer.
        meshes: name of the mesh source.
        images: number of images, at least.
        size: pixels on a side.
        workers: number of processes.

    Raises:
        RendererError: when a process ends with an error.
    """
    objects = -(-images // VIEWS_PER_OBJECT)
    source = get_mesh_source(meshes, num_objects=objects)
    for index in range(len(source)):
        source.load(index)  # decode once, so that every process reads the cache
    # spawn: a forked process would share threads and locks of the libraries loaded here
    context = multiprocessing.get_context("spawn")
    barrier, spans = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(
            target=_work,
            args=(renderer, options, meshes, range(rank, objects, workers), images, size, barrier, spans),
        )
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        done = [_next(spans, processes) for _ in processes]
    finally:
        for process in processes:
            process.terminate()
            process.join()
    seconds = max(end for _, end, _ in done) - min(start for start, _, _ in done)
    made = sum(count for *_, count in done)
    return Rate(made / seconds, made, min(objects, len(source)), f"{workers} processes of {machine()}")


def _next(spans: Any, processes: Sequence[Any]) -> tuple[float, float, int]:
    """Return the next worker's report; raise an error instead of waiting for ever when one has died."""
    while True:
        try:
            return spans.get(timeout=1.0)
        except queue.Empty:
            failed = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
            if failed:
                raise RendererError(f"a rendering process ended with code {failed[0]}; its error is above") from None


def _work(
    name: str,
    options: Mapping[str, Any],
    meshes: str,
    objects: Sequence[int],
    images: int,
    size: int,
    barrier: Any,
    spans: Any,
) -> None:
    source = get_mesh_source(meshes, num_objects=-(-images // VIEWS_PER_OBJECT))
    renderer = get_renderer(name, **options)
    renderer.render(source.load(0), views_of(0, 2), size)
    barrier.wait(timeout=300)
    start, count = time.time(), 0
    for index in objects:
        views = views_of(index, min(VIEWS_PER_OBJECT, images - index * VIEWS_PER_OBJECT))
        count += len(renderer.render(source.load(index % len(source)), views, size))
    spans.put((start, time.time(), count))


def batch_rate(renderer: TorchRenderer, meshes: str, images: int, size: int, batch_images: int, seconds: float) -> Rate:
    """Measure batches of many meshes on the renderer's device, from this process, which reads meshes in threads.

    On a GPU ``images`` is raised to 25 views of 200 objects; on the CPU batches are small and the measurement ends
    after ``seconds``.

    Args:
        renderer: the renderer.
        meshes: name of the mesh source.
        images: number of images.
        size: pixels on a side.
        batch_images: images in a batch.
        seconds: limit of the measurement on a CPU.
    """
    on_gpu = renderer.device.type == "cuda"
    images = max(images, GPU_OBJECTS * VIEWS_PER_OBJECT) if on_gpu else images
    limit, batch = (float("inf"), batch_images) if on_gpu else (seconds, 5)
    source = get_mesh_source(meshes, num_objects=-(-images // VIEWS_PER_OBJECT))
    if on_gpu and len(source) < GPU_OBJECTS:
        raise RendererError(f"expected at least {GPU_OBJECTS} meshes in {meshes!r} for a GPU, got {len(source)}")
    for index in range(len(source)):
        source.load(index)  # decode once: the cache is what a data set is made from
    _run(renderer, [([source.load(0)], [views_of(0, 2)])], size, limit)  # compile
    kept: list[Batch] = []
    made, took = _run(renderer, _batches(source, images, batch, kept), size, limit)
    again, resident_took = _run(renderer, kept, size, limit)
    objects = min(len(source), -(-made // VIEWS_PER_OBJECT))
    return Rate(made / took, made, objects, _where(renderer), again / resident_took)


Batch = tuple[list[Mesh], list[list[ViewParameters]]]


def _batches(source: MeshSource, images: int, batch_images: int, kept: list[Batch]) -> Iterator[Batch]:
    """Yield batches of about ``batch_images``, ``images`` in all; read ahead in threads, and put into ``kept``."""
    views = min(VIEWS_PER_OBJECT, batch_images)
    chunks = [(i // VIEWS_PER_OBJECT, i % VIEWS_PER_OBJECT, min(views, images - i)) for i in range(0, images, views)]

    def load(chunk: tuple[int, int, int]) -> tuple[Mesh, list[ViewParameters]]:
        index, first, count = chunk
        return source.load(index % len(source)), views_of(index, first + count)[first:]

    together = max(1, batch_images // views)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        loaded = pool.map(load, chunks)
        while batch := [item for _, item in zip(range(together), loaded, strict=False)]:
            kept.append(([mesh for mesh, _ in batch], [views for _, views in batch]))
            yield kept[-1]


def _run(renderer: TorchRenderer, batches: Iterator[Batch] | list[Batch], size: int, limit: float) -> tuple[int, float]:
    """Return images made and seconds taken, at most a batch longer than ``limit``."""
    start, made = time.perf_counter(), 0
    for meshes, views in batches:
        made += len(renderer.render_batch(meshes, views, size))
        if time.perf_counter() - start > limit:
            break
    _wait(renderer)
    return made, time.perf_counter() - start


def _wait(renderer: TorchRenderer) -> None:
    import torch

    if renderer.device.type == "cuda":
        torch.cuda.synchronize(renderer.device)


def _where(renderer: TorchRenderer) -> str:
    import torch

    if renderer.device.type == "cuda":
        return torch.cuda.get_device_name(renderer.device)
    return f"{torch.get_num_threads()} threads of {machine()}"
