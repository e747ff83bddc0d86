"""Blender Cycles as the reference of the ray caster: the same scenes, with the time of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers import ViewParameters
from equissl.renderers.blender import INSTALL_BLENDER, BlenderRenderer, find_blender_python

__all__ = ["INSTALL_BLENDER", "CyclesResult", "find_blender_python", "psnr", "render_with_cycles"]


@dataclass(frozen=True, eq=False)
class CyclesResult:
    """Images (N, size, size, 3) uint8 and the wall seconds of each."""

    images: np.ndarray
    seconds: list[float]


def render_with_cycles(
    blender_python: Path,
    scenes: Sequence[tuple[Mesh, ViewParameters]],
    size: int = 256,
    samples: int = 100,
    specular: bool = True,
    seed: int = 0,
    view_transform: str = "filmic",
) -> CyclesResult:
    """Render one image per (mesh, view) with the settings of 3DIEBench's generator.

    Args:
        blender_python: interpreter that imports ``bpy`` 5.0.1.
        scenes: what to render.
        size: image width and height.
        samples, specular, seed, view_transform: see :class:`~equissl.renderers.blender.BlenderOptions`.

    Raises:
        RendererError: with the end of Blender's output when it fails.
    """
    renderer = BlenderRenderer(
        blender_python, samples=samples, specular=specular, seed=seed, view_transform=view_transform
    )
    done = [renderer.render_timed(mesh, [view], size) for mesh, view in scenes]
    return CyclesResult(np.concatenate([image for image, _ in done]), [seconds[0] for _, seconds in done])


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio of two 8-bit images in dB; infinite for equal ones.

    Args:
        image: (H, W, 3) uint8.
        reference: (H, W, 3) uint8.
    """
    error = np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / error)) if error > 0 else math.inf
