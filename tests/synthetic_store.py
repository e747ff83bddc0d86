"""A store made without meshes or a renderer, in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import threediebench_schema
from equissl.datasets.views.store.writer import write_store


def write_synthetic_store(
    path: Path | str,
    objects: int = 16,
    views: int = 4,
    size: int = 16,
    classes: int = 4,
    seed: int = 0,
    encoding: str = "raw",
    val_fraction: float = 0.25,
) -> Path:
    """Writes a store of striped discs: the stripes' number tells the class, their direction the rotation about z.

    Objects take the classes in turn and the last ``val_fraction`` of them are the validation split.
    """
    schema = threediebench_schema()
    latents = np.stack([sample_latents(schema, seed, i, views) for i in range(objects)])
    labels = np.arange(objects) % classes
    images = np.stack(
        [[draw_disc(row, label, size) for row in rows] for rows, label in zip(latents, labels.tolist(), strict=True)]
    )
    split = (np.arange(objects) >= round(objects * (1 - val_fraction))).astype(np.uint8)
    names = [f"class_{i}" for i in range(classes)]
    attributes = {"seed": seed, "renderer": {"name": "synthetic", "version": 1, "options": {}}}
    return write_store(path, images, latents, labels, schema, names, split, encoding=encoding, attributes=attributes)


def draw_disc(latents: np.ndarray, label: int, size: int) -> np.ndarray:
    """(size, size, 3) uint8 picture of one row of latents."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    angle = latents[2]
    stripes = np.cos((x * np.cos(angle) + y * np.sin(angle)) * np.pi * (label + 1) + 0.5)
    floor = 0.3 + 0.4 * np.array([latents[3], 1 - latents[3], latents[6]])
    inside = (x**2 + y**2 < 0.7)[..., None]
    picture = np.where(inside, 0.5 + 0.4 * stripes[..., None] * np.array([1.0, 0.8, 0.6]), floor)
    return (picture * 255).round().astype(np.uint8)
