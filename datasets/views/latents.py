"""Sampling of the latents of views."""

from __future__ import annotations

import numpy as np

from equissl.datasets.views.schema import LatentSchema


def sample_latents(schema: LatentSchema, seed: int, object_index: int, num_views: int, first: int = 0) -> np.ndarray:
    """Latents of views of one object: independent and uniform in the ranges of ``schema``, without their gaps.

    Each view has its own ``SeedSequence([seed, object, view])``, so any view can be made again alone, in any order and
    on any worker, and more views leave the earlier ones as they are.

    Args:
        schema: names and ranges of the L latents.
        seed: seed of the dataset.
        object_index: the object's position in its mesh source.
        num_views: V.
        first: number of the first of them.

    Returns:
        (V, L) float64.
    """
    unit = np.array([sample_unit(seed, object_index, view, len(schema)) for view in range(first, first + num_views)])
    low, high, gap = (np.array([getattr(latent, end) for latent in schema.latents]) for end in ("low", "high", "gap"))
    values = low + (high - low - 2 * gap) * unit.reshape(num_views, len(schema))
    return np.where((gap > 0) & (values >= (low + high) / 2 - gap), values + 2 * gap, values)


def sample_unit(seed: int, object_index: int, view: int, count: int) -> np.ndarray:
    """Draw numbers (count,) float64, uniform in [0, 1), for one view.

    Args:
        seed: seed of the dataset.
        object_index: index of the object.
        view: view of the object.
        count: how many numbers.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, object_index, view])).random(count)
