"""How fast the ray caster makes images, beside Blender Cycles on the same scenes in the same run."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equissl.bench.cycles_reference import INSTALL_BLENDER, find_blender_python, psnr, render_with_cycles
from equissl.datasets.latents import sample_latents
from equissl.datasets.meshes import MeshSource, get_mesh_source
from equissl.datasets.schema import threediebench_schema
from equissl.renderers import RendererError, ViewParameters, get_renderer, view_parameters

_VIEWS = 25  # images of each object


def bench_render(
    meshes: str = "sweethome3d",
    images: int = 600,
    size: int = 256,
    workers: int | None = None,
    antialias: int = 1,
    spot_samples: int = 1,
    blender: bool | None = None,
    blender_python: str | None = None,
    blender_images: int = 4,
    samples: int = 100,
    fidelity: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Measures images per second, with textures and cast shadows, one process per core and one thread in each.

    The time counts what a data set costs before images are compressed: reading meshes (from the decoded-mesh cache),
    building the ray-tracing structure once per 25 views, and rendering. Starting the processes is not counted. Cycles
    renders the first views of the same objects, one image at a time on all cores, with the settings of 3DIEBench's
    generator.

    Args:
        meshes: mesh source, see ``equissl render``.
        images: how many, 25 views of each object.
        size: image width and height in pixels.
        workers: processes; as many as cores by default.
        antialias, spot_samples: see the ``raycast`` renderer.
        blender: compare with Cycles. By default where Blender is found; true: an error where it is not.
        blender_python: interpreter that imports ``bpy`` 5.0.1; this one by default.
        blender_images: how many images Cycles renders.
        samples: Cycles' paths per pixel.
        fidelity: also report the PSNR of the ray caster's images (2x2 antialiasing, 4 lamp samples, and as measured)
            against Cycles'.
        say: receives the lines of the report.

    Returns:
        ``images_per_s``, ``images_per_s_per_worker``, ``workers``, ``images``, ``size``; with Blender
        ``cycles_s_per_image`` and ``times_faster``; with ``fidelity`` ``psnr_median`` and ``psnr_min`` in dB, also
        ``…_as_measured``.

    Raises:
        RendererError: where Blender was asked for and is not there, or failed.
    """
    python = None if blender is False else find_blender_python(blender_python)
    if blender and python is None:
        raise RendererError(INSTALL_BLENDER)
    workers = workers or os.cpu_count() or 1
    options = {"antialias": antialias, "spot_samples": spot_samples}
    result = _measure(meshes, images, size, workers, options)
    say(
        f"raycast: {result['images_per_s']:.0f} images/s at {size}x{size} on {workers} processes of {machine()} "
        f"({result['images_per_s_per_worker']:.0f} each), {result['images']:.0f} images, {options}"
    )
    if python is None:
        if blender is None:
            say(INSTALL_BLENDER)
        return result
    scenes = _scenes(get_mesh_source(meshes, num_objects=blender_images), blender_images)
    cycles = render_with_cycles(python, scenes, size, samples)
    result["cycles_s_per_image"] = statistics.median(cycles.seconds)
    result["times_faster"] = result["images_per_s"] * result["cycles_s_per_image"]
    say(
        f"Cycles:  {result['cycles_s_per_image']:.2f} s per image ({samples} samples, all cores, "
        f"median of {len(scenes)}): raycast is {result['times_faster']:.0f} times faster"
    )
    if fidelity:
        result |= _fidelity(scenes, cycles.images, size, options, say)
    return result


def _objects(images: int) -> int:
    return max(1, -(-images // _VIEWS))


def _views(index: int, count: int) -> list[ViewParameters]:
    schema = threediebench_schema()
    return view_parameters(sample_latents(schema, 0, index, count), schema.names)


def _scenes(source: MeshSource, count: int) -> list[tuple[Any, ViewParameters]]:
    return [(source.load(i % len(source)), _views(i, 1)[0]) for i in range(count)]


def _measure(meshes: str, images: int, size: int, workers: int, options: dict[str, int]) -> dict[str, float]:
    source = get_mesh_source(meshes, num_objects=_objects(images))
    for index in range(len(source)):
        source.load(index)  # decode once, so that every process reads the cache
    # spawn: a forked process would share threads and locks of the libraries loaded here
    context = multiprocessing.get_context("spawn")
    barrier, spans = context.Barrier(workers), context.Queue()
    shares = [list(range(_objects(images)))[rank::workers] for rank in range(workers)]
    processes = [context.Process(target=_work, args=(meshes, s, images, size, options, barrier, spans)) for s in shares]
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
    rate = made / seconds
    return {
        "images_per_s": rate,
        "images_per_s_per_worker": rate / workers,
        "workers": workers,
        "images": made,
        "size": size,
    }


def _next(spans: Any, processes: Sequence[Any]) -> tuple[float, float, int]:
    """The next worker's report; an error instead of waiting for ever when one has died."""
    import queue

    while True:
        try:
            return spans.get(timeout=1.0)
        except queue.Empty:
            failed = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
            if failed:
                raise RendererError(f"a rendering process ended with code {failed[0]}; its error is above") from None


def _work(
    meshes: str, objects: list[int], images: int, size: int, options: dict[str, int], barrier: Any, spans: Any
) -> None:
    source = get_mesh_source(meshes, num_objects=_objects(images))
    renderer = get_renderer("raycast", **options)
    renderer.render(source.load(0), _views(0, 2), size)
    barrier.wait(timeout=300)
    start, count = time.time(), 0
    for index in objects:
        views = _views(index, min(_VIEWS, images - index * _VIEWS))
        count += len(renderer.render(source.load(index % len(source)), views, size))
    spans.put((start, time.time(), count))


def _fidelity(
    scenes: Sequence[tuple[Any, ViewParameters]],
    references: np.ndarray,
    size: int,
    options: dict[str, int],
    say: Callable[[str], None],
) -> dict[str, float]:
    result: dict[str, float] = {}
    for suffix, chosen in (("", {"antialias": 2, "spot_samples": 4}), ("_as_measured", options)):
        renderer = get_renderer("raycast", **chosen)
        values = [
            psnr(renderer.render(mesh, [view], size)[0], reference)
            for (mesh, view), reference in zip(scenes, references, strict=True)
        ]
        result |= {f"psnr_median{suffix}": statistics.median(values), f"psnr_min{suffix}": min(values)}
        say(f"PSNR against Cycles, {chosen}: median {statistics.median(values):.1f} dB, lowest {min(values):.1f} dB")
    return result


def machine() -> str:
    """Cores and processor, for reports."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0]}" if names else f"{os.cpu_count()} cores"
