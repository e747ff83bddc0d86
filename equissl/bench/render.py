"""Benchmark of renderers, beside Blender Cycles on the same scenes in the same run.

On a machine with a GPU one command measures everything::

    equissl bench render --meshes sweethome3d --images 5000 --batch_images 250
"""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from equissl.bench.cycles_reference import INSTALL_BLENDER, find_blender_python, psnr, render_with_cycles
from equissl.bench.render_rates import Rate, batch_rate, process_rate, views_of
from equissl.datasets.meshes import get_mesh_source
from equissl.renderers import RENDERERS, RendererError, ViewParameters, get_renderer

VIEWS_OF_3DIEBENCH = 2_623_600  # 52,472 objects, 50 views each
logger = logging.getLogger(__name__)


def bench_render(
    meshes: str = "sweethome3d",
    images: int = 600,
    size: int | None = None,
    workers: int | None = None,
    antialias: int | None = None,
    spot_samples: int | None = None,
    blender: bool | None = None,
    blender_python: str | None = None,
    blender_images: int = 4,
    samples: int = 100,
    fidelity: bool = False,
    renderers: list[str] | None = None,
    sizes: list[int] | None = None,
    quality: str = "plain",
    batch_images: int = 250,
    seconds: float = 30.0,
) -> dict[str, float]:
    """Measure images per second of every renderer, with textures and cast shadows.

    The time counts what a data set costs before images are compressed: reading meshes (from the decoded-mesh cache),
    building the ray-tracing structure once per 25 views, and rendering. ``raycast`` runs one process per core with one
    thread in each; starting them is not counted. ``warp`` and ``pytorch3d`` draw batches of many meshes on the GPU
    where there is one (200 different meshes at least), else on the CPU; they are measured a second time with the
    meshes in device memory, as in live rendering. ``blender`` renders the first views of the same objects, one image
    at a time on all cores, with the settings of 3DIEBench's generator. Renderers that are not installed are named.

    Args:
        meshes: mesh source, see ``equissl render``.
        images: how many, 25 views of each object; 5000 at least on a GPU.
        size: image width and height in pixels; instead of ``sizes``.
        workers: processes; as many as cores by default.
        antialias, spot_samples: see the ``raycast`` renderer; its quality's by default.
        blender: compare with Cycles. By default where Blender is found; true: an error where it is not.
        blender_python: interpreter that imports ``bpy`` 5.0.1; ``$EQUISSL_BLENDER_PYTHON`` or this one by default.
        blender_images: how many images Cycles renders.
        samples: Cycles' paths per pixel.
        fidelity: also report the PSNR of the ray caster's images (2x2 antialiasing, 4 spot light samples, and as
            measured) against Cycles'.
        renderers: names; one that is named must be there. All that are installed by default.
        sizes: 128 and 256 by default.
        quality: preset of ``raycast``.
        batch_images: images that a GPU is given at once.
        seconds: longest measurement of ``warp`` and ``pytorch3d`` on the CPU.

    Returns:
        Per renderer and size ``NAME/SIZE/images_per_s`` and ``NAME/SIZE/hours_3diebench``; in places
        ``…/resident_images_per_s``; with Blender ``blender/SIZE/s_per_image`` and ``raycast/SIZE/times_faster``; with
        ``fidelity`` ``raycast/SIZE/psnr_median`` and ``psnr_min`` in dB, also ``…_as_measured``.

    Raises:
        RendererError: where a renderer or Blender was asked for and is not there, or failed.
    """
    sides = _sizes(size, sizes)
    sampling = {"antialias": antialias, "spot_samples": spot_samples}
    options: dict[str, Any] = {name: value for name, value in sampling.items() if value is not None}
    python = None if blender is False else find_blender_python(blender_python)
    if python is None and (blender or (renderers and "blender" in renderers)):
        raise RendererError(INSTALL_BLENDER)
    if blender is None and renderers is not None and "blender" not in renderers:
        python = None
    elif blender is None and python is None:
        logger.info(f"blender: not measured: {INSTALL_BLENDER}")
    names = [name for name in renderers or sorted(RENDERERS) if name != "blender"]
    result: dict[str, float] = {}
    for name in names:
        chosen = options | ({"quality": quality} if name == "raycast" else {})
        try:
            get_renderer(name, **chosen)
        except RendererError as error:
            if renderers is not None:
                raise
            logger.info(f"{name}: not measured: {error}")
            continue
        for side in sides:
            rate = _measure(name, chosen, meshes, images, side, workers, batch_images, seconds)
            result |= _report(name, side, rate, chosen)
    if python is not None:
        for side in sides:
            scenes = _scenes(meshes, blender_images)
            cycles = render_with_cycles(python, scenes, side, samples)
            result |= _report_cycles(side, cycles.seconds, samples, result)
            if fidelity:
                result |= _fidelity(scenes, cycles.images, side, options | {"quality": quality})
    return result


def _sizes(size: int | None, sizes: Sequence[int] | None) -> Sequence[int]:
    if size is not None and sizes is not None:
        raise ValueError(f"expected size or sizes, got both: {size} and {list(sizes)}")
    return [size] if size is not None else sizes or (128, 256)


def _measure(
    name: str,
    options: dict[str, Any],
    meshes: str,
    images: int,
    size: int,
    workers: int | None,
    batch_images: int,
    seconds: float,
) -> Rate:
    if name == "raycast":
        return process_rate(name, options, meshes, images, size, workers or os.cpu_count() or 1)
    # A renderer of its own for each size: meshes are copied to the device anew, and all of them stay there.
    renderer: Any = get_renderer(name, mesh_megabytes=16384, **options)
    return batch_rate(renderer, meshes, images, size, batch_images, seconds)


def _report(name: str, size: int, rate: Rate, options: dict[str, Any]) -> dict[str, float]:
    hours = VIEWS_OF_3DIEBENCH / rate.images_per_s / 3600
    resident = rate.resident_images_per_s
    again = "" if resident is None else f"; {resident:.4g} images/s with the meshes on the device"
    logger.info(
        f"{name}: {rate.images_per_s:.4g} images/s at {size}x{size} on {rate.where}, {rate.images} images of "
        f"{rate.objects} meshes, {options}{again}; {VIEWS_OF_3DIEBENCH:,} views would take {hours:.2f} hours"
    )
    prefix = f"{name}/{size}/"
    result = {prefix + "images_per_s": rate.images_per_s, prefix + "hours_3diebench": hours}
    result |= {prefix + "images": rate.images, prefix + "objects": rate.objects}
    return result if resident is None else result | {prefix + "resident_images_per_s": resident}


def _report_cycles(size: int, seconds: Sequence[float], samples: int, result: dict[str, float]) -> dict[str, float]:
    each = statistics.median(seconds)
    hours = VIEWS_OF_3DIEBENCH * each / 3600
    found = {
        f"blender/{size}/s_per_image": each,
        f"blender/{size}/images_per_s": 1 / each,
        f"blender/{size}/hours_3diebench": hours,
    }
    line = (
        f"blender: {each:.2f} s per image at {size}x{size} ({samples} samples, all cores, median of {len(seconds)}); "
        f"{VIEWS_OF_3DIEBENCH:,} views would take {hours:.0f} hours"
    )
    if (rate := result.get(f"raycast/{size}/images_per_s")) is not None:
        found[f"raycast/{size}/times_faster"] = rate * each
        line += f"; raycast is {rate * each:.0f} times faster"
    logger.info(line)
    return found


def _scenes(meshes: str, count: int) -> list[tuple[Any, ViewParameters]]:
    source = get_mesh_source(meshes, num_objects=count)
    return [(source.load(i % len(source)), views_of(i, 1)[0]) for i in range(count)]


def _fidelity(
    scenes: Sequence[tuple[Any, ViewParameters]],
    references: np.ndarray,
    size: int,
    options: dict[str, Any],
) -> dict[str, float]:
    result: dict[str, float] = {}
    for suffix, chosen in (("", {"antialias": 2, "spot_samples": 4}), ("_as_measured", options)):
        renderer = get_renderer("raycast", **chosen)
        values = [
            psnr(renderer.render(mesh, [view], size)[0], reference)
            for (mesh, view), reference in zip(scenes, references, strict=True)
        ]
        found = {f"psnr_median{suffix}": statistics.median(values), f"psnr_min{suffix}": min(values)}
        result |= {f"raycast/{size}/{name}": value for name, value in found.items()}
        logger.info(
            f"PSNR against Cycles, {chosen}: median {statistics.median(values):.1f} dB, lowest {min(values):.1f} dB"
        )
    return result
