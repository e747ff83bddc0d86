"""Benchmark of the ray caster's qualities against Blender Cycles: likeness of images, and speed."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from equissl.bench.cycles_reference import INSTALL_BLENDER, find_blender_python, psnr, render_with_cycles
from equissl.bench.render_rates import machine, process_rate
from equissl.datasets.meshes import get_mesh_source
from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import threediebench_schema
from equissl.renderers import RendererError, ViewParameters, get_renderer, view_parameters

Scene = tuple[Mesh, ViewParameters]
_ORDER_SEED = 20240731  # of the order in which objects become scenes; apart from the seed of the latents
_DIFFERENCE_GAIN = 8
_BATCH = 4  # Cycles images a call: what an interruption may lose
logger = logging.getLogger(__name__)


def bench_fidelity(
    meshes: str = "sweethome3d",
    scenes: int = 60,
    first: int = 0,
    seed: int = 0,
    size: int = 256,
    samples: int = 100,
    qualities: Sequence[str] = ("fast", "soft", "reference"),
    out: str = "fidelity",
    blender_python: str | None = None,
    timed: int = 4,
    images: int = 200,
    workers: int | None = None,
) -> dict[str, float]:
    """Render the same scenes with Blender Cycles and with the ray caster, and compare images and speed.

    A scene is one object with one draw of 3DIEBench's latents; objects come in a fixed shuffled order, so that scenes
    ``first`` … ``first + scenes - 1`` of one call share no object with those of another. ``out`` gets Cycles' images
    (used again by later calls), ``scenes.csv``, and per quality a contact sheet: ours, Cycles, and their difference
    times 8. Speed is measured in this call on the same cores: Cycles renders ``timed`` scenes anew before and after
    each quality, one at a time on all cores; the ray caster runs one process per core and counts reading meshes and
    building ray-tracing structures.

    Args:
        meshes: mesh source, see ``equissl render``.
        scenes: how many.
        first: number of the first.
        seed: of the latents.
        size: image width and height in pixels.
        samples: Cycles' paths per pixel.
        qualities: of the ``raycast`` renderer.
        out: folder to write.
        blender_python: interpreter that imports ``bpy`` 5.0.1; this one by default.
        timed: how many scenes Cycles renders anew for its speed; 0: no speeds.
        images: how many each quality is timed with; a quarter as many for ``reference``.
        workers: processes; as many as cores by default.

    Returns:
        Per quality ``psnr_median``, ``psnr_min``, ``ssim_median``, ``ssim_min``; with ``timed`` also ``images_per_s``
        and ``times_faster``, and ``cycles_s_per_image``.

    Raises:
        RendererError: where Blender is not there or fails, or the source has too few objects.
    """
    python = find_blender_python(blender_python)
    if python is None:
        raise RendererError(INSTALL_BLENDER)
    folder = Path(out)
    chosen = choose_scenes(meshes, scenes, first, seed)
    cycles = cycles_images(python, chosen, size, samples, folder / "cycles")
    result: dict[str, float] = {}
    rows = [{"scene": mesh.name} for mesh, _ in chosen]
    for quality in qualities:
        renderer = get_renderer("raycast", quality=quality)
        ours = np.stack([renderer.render(mesh, [view], size)[0] for mesh, view in chosen])
        result |= _compare(quality, ours, cycles, rows)
        contact_sheet(ours, cycles).save(folder / f"{quality}.png")
    _write_table(folder / "scenes.csv", rows)
    if timed:
        result |= _speeds(python, chosen[:timed], size, samples, qualities, meshes, images, workers)
    return result


def choose_scenes(meshes: str, count: int, first: int, seed: int) -> list[Scene]:
    """Choose scenes ``first`` … of a mesh source; each shows another object.

    Args:
        meshes: name of the mesh source.
        count: number of scenes.
        first: number of the first object.
        seed: of the views.
    """
    source = get_mesh_source(meshes, num_objects=first + count if meshes == "procedural" else None)
    if first + count > len(source):
        raise RendererError(f"expected at least {first + count} objects in {meshes!r}, got {len(source)}")
    order = np.random.default_rng(np.random.SeedSequence([_ORDER_SEED])).permutation(len(source))
    schema = threediebench_schema()
    return [
        (source.load(int(i)), view_parameters(sample_latents(schema, seed, int(i), 1), schema.names)[0])
        for i in order[first : first + count]
    ]


def cycles_images(python: Path, scenes: Sequence[Scene], size: int, samples: int, cache: Path) -> np.ndarray:
    """Return Cycles' images (N, size, size, 3) uint8, from ``cache`` where they are there already.

    Args:
        python: interpreter that has the module ``bpy``.
        scenes: N meshes and views.
        size: pixels on a side.
        samples: rays of a pixel.
        cache: folder of images.
    """
    cache.mkdir(parents=True, exist_ok=True)
    files = [cache / f"{scene_key(*scene, size, samples)}.png" for scene in scenes]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        logger.info(f"Cycles: {len(files) - len(missing) + start} of {len(files)} images are there")
        for i, image in zip(
            batch, render_with_cycles(python, [scenes[i] for i in batch], size, samples).images, strict=True
        ):
            partial = files[i].with_suffix(".part")
            Image.fromarray(image).save(partial, format="png")
            partial.rename(files[i])
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def scene_key(mesh: Mesh, view: ViewParameters, size: int, samples: int) -> str:
    """Return a file name that changes with every input of Cycles.

    Args:
        mesh: of the scene.
        view: of the mesh.
        size: pixels on a side.
        samples: rays of a pixel.
    """
    digest = hashlib.sha256(f"{size} {samples}".encode())
    for array in (mesh.vertices, mesh.faces, mesh.face_material, mesh.corner_uv, mesh.corner_normals):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    if mesh.corner_colours is not None:
        digest.update(np.ascontiguousarray(mesh.corner_colours).tobytes())
    for material in mesh.materials:
        digest.update(repr((material.diffuse.tolist(), material.specular, material.roughness, material.alpha)).encode())
        digest.update(b"none" if material.texture is None else material.texture.tobytes())
    numbers = (view.floor_hue, view.light_theta, view.light_phi, view.light_hue)
    digest.update(np.concatenate([view.rotation.ravel(), view.translation, numbers]).tobytes())
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', mesh.name)[:60]}-{digest.hexdigest()[:12]}"


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """Compute the structural similarity of two 8-bit images, the mean over channels.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004, with uniform
    windows of 7 pixels that lie within the image and sample covariances, as scikit-image computes it by default.

    Args:
        image: (H, W, C) uint8.
        reference: (H, W, C) uint8.
    """
    return float(np.mean([_ssim_channel(image[..., c], reference[..., c]) for c in range(image.shape[-1])]))


def _ssim_channel(image: np.ndarray, reference: np.ndarray, window: int = 7) -> float:
    x, y = image.astype(np.float64), reference.astype(np.float64)
    sample = window**2 / (window**2 - 1)
    mean_x, mean_y = uniform_filter(x, window), uniform_filter(y, window)
    var_x = sample * (uniform_filter(x * x, window) - mean_x**2)
    var_y = sample * (uniform_filter(y * y, window) - mean_y**2)
    covariance = sample * (uniform_filter(x * y, window) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    margin = window // 2
    return float(similarity[margin:-margin, margin:-margin].mean())


def contact_sheet(ours: np.ndarray, cycles: np.ndarray, columns: int = 4, thumbnail: int = 128) -> Image.Image:
    """Draw scenes as ours, Cycles', and their absolute difference times 8, side by side.

    Args:
        ours: (N, S, S, 3) uint8.
        cycles: (N, S, S, 3) uint8.
        columns: scenes in a row.
        thumbnail: pixels on a side of each picture.
    """
    difference = np.minimum(np.abs(ours.astype(np.int32) - cycles) * _DIFFERENCE_GAIN, 255).astype(np.uint8)
    columns = min(columns, len(ours))
    sheet = Image.new("RGB", (columns * 3 * thumbnail, -(-len(ours) // columns) * thumbnail))
    for number, triple in enumerate(zip(ours, cycles, difference, strict=True)):
        row, column = divmod(number, columns)
        for place, image in enumerate(triple):
            small = Image.fromarray(image).resize((thumbnail, thumbnail), Image.Resampling.LANCZOS)
            sheet.paste(small, ((column * 3 + place) * thumbnail, row * thumbnail))
    return sheet


def _compare(quality: str, ours: np.ndarray, cycles: np.ndarray, rows: list[dict[str, str]]) -> dict[str, float]:
    values = [(psnr(a, b), ssim(a, b)) for a, b in zip(ours, cycles, strict=True)]
    for row, (decibel, similarity) in zip(rows, values, strict=True):
        row |= {f"{quality}_psnr": f"{decibel:.2f}", f"{quality}_ssim": f"{similarity:.4f}"}
    decibels, similarities = zip(*values, strict=True)
    result = {
        f"{quality}/psnr_median": statistics.median(decibels),
        f"{quality}/psnr_min": min(decibels),
        f"{quality}/ssim_median": statistics.median(similarities),
        f"{quality}/ssim_min": min(similarities),
    }
    numbers = "PSNR median {:.2f} dB, lowest {:.2f}; SSIM median {:.4f}, lowest {:.4f}".format(*result.values())
    logger.info(f"{quality}: {numbers} ({len(ours)} scenes)")
    return result


def _write_table(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _speeds(
    python: Path,
    scenes: Sequence[Scene],
    size: int,
    samples: int,
    qualities: Sequence[str],
    meshes: str,
    images: int,
    workers: int | None,
) -> dict[str, float]:
    """Time Cycles before and after each quality, because other work on the machine comes and goes."""
    workers = workers or os.cpu_count() or 1

    def cycles_seconds() -> list[float]:
        return render_with_cycles(python, scenes, size, samples).seconds

    rounds = [cycles_seconds()]
    result: dict[str, float] = {}
    for quality in qualities:
        count = images // 4 if quality == "reference" else images
        rate = process_rate("raycast", {"quality": quality}, meshes, count, size, workers).images_per_s
        rounds.append(cycles_seconds())
        faster = rate * statistics.median(rounds[-2] + rounds[-1])
        logger.info(f"{quality}: {rate:.1f} images/s ({rate / workers:.1f} per core), {faster:.0f} times Cycles' speed")
        result |= {f"{quality}/images_per_s": rate, f"{quality}/times_faster": faster}
    seconds = statistics.median(second for each in rounds for second in each)
    where = f"{samples} samples, all cores of {machine()}"
    logger.info(
        f"Cycles: {seconds:.2f} s per image ({where}; median of {len(scenes)} scenes, {len(rounds)} times each)"
    )
    return result | {"cycles_s_per_image": seconds}
