"""Filters that share light between the samples of a pixel and between neighbouring pixels."""

from __future__ import annotations

import numpy as np

from equissl.renderers.lighting import dot
from equissl.renderers.surface import Surface

# Samples of one pixel share their light where the surface does not bend or step more than this.
_SAME_NORMAL, _SAME_PLANE = 0.95, 0.004
_PLANE_DISTANCE = 0.01
_ROUNDS = 2


def lighting_points(surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points of a surface to light: one per pixel and layer, more where the pixel holds edges.

    Returns:
        Indices (m,) of the points to light, and for each point of the surface (n,) the number, 0 … m - 1, of the
        one whose light it takes.
    """
    source = np.empty(len(surface), np.int64)
    place = surface.pixel + surface.layer * (surface.pixel.max(initial=0) + 1)
    first = np.empty(place.max(initial=-1) + 1, np.int64)
    number = np.empty(len(surface), np.int64)
    rest = np.arange(len(surface))
    chosen: list[np.ndarray] = []
    count = 0
    for _ in range(_ROUNDS):
        first[place[rest[::-1]]] = rest[::-1]  # the first of several stays
        representative = first[place[rest]]
        leads = representative == rest
        chosen.append(rest[leads])
        number[chosen[-1]] = count + np.arange(len(chosen[-1]))
        count += len(chosen[-1])
        same = leads | _alike(surface, rest, representative)
        source[rest[same]] = number[representative[same]]
        rest = rest[~same]
    chosen.append(rest)
    source[rest] = count + np.arange(rest.size)
    return np.concatenate(chosen), source


def _alike(surface: Surface, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    bend = dot(surface.normal[:, one], surface.normal[:, other])
    step = dot(surface.point[:, one] - surface.point[:, other], surface.face_normal[:, other])
    return (bend > _SAME_NORMAL) & (np.abs(step) < _SAME_PLANE)


def smooth(values: np.ndarray, surface: Surface, size: int, levels: int) -> np.ndarray:
    """Compute the edge-aware à-trous filter over neighbouring pixels of the same view.

    Dammertz et al., "Edge-Avoiding À-Trous Wavelet Transform for fast Global Illumination Filtering", HPG 2010.
    Neighbours count by the 32nd power of the cosine between normals and by their distance from the tangent plane.

    Args:
        values: (C, n) float32.
        surface: the n points; the first of each pixel stands for it.
        size: image width and height.
        levels: filter passes, with steps of 1, 2, 4 … pixels.
    """
    if levels == 0 or len(surface) == 0:
        return values
    home, width, index = _index_image(surface, size, 2 ** (levels - 1))
    for level in range(levels):
        total, weight = values * 4.0, np.full(len(surface), 4.0, np.float32)
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            other = index[home + (dy * width + dx) * 2**level]
            near = _similarity(surface, other) * np.float32((2 - abs(dy)) * (2 - abs(dx)))
            near *= other >= 0
            for channel in range(len(values)):
                total[channel] += values[channel].take(other, mode="clip") * near
            weight += near
        values = total / weight
    return values


def _index_image(surface: Surface, size: int, margin: int) -> tuple[np.ndarray, int, np.ndarray]:
    """Each point's place in images with a margin, the width of a row, and the point at each place or -1."""
    width = size + 2 * margin
    view, pixel = np.divmod(surface.pixel, size * size)
    view = view + surface.layer * (view.max() + 1)  # an image for each transparent layer
    row, column = np.divmod(pixel, size)
    home = (view * width + row + margin) * width + column + margin
    index = np.full((view.max() + 1) * width * width, -1, np.int32)
    index[home[::-1]] = np.arange(len(surface), dtype=np.int32)[::-1]  # the first of several stays
    return home, width, index


def _similarity(surface: Surface, other: np.ndarray) -> np.ndarray:
    """Weight (n,) of each point's neighbour ``other``."""
    bend, step = np.zeros(len(surface), np.float32), np.zeros(len(surface), np.float32)
    for i in range(3):
        bend += surface.normal[i] * surface.normal[i].take(other, mode="clip")
        step += surface.face_normal[i] * (surface.point[i] - surface.point[i].take(other, mode="clip"))
    np.maximum(bend, 0.0, out=bend)
    for _ in range(5):
        bend *= bend
    step *= 1 / _PLANE_DISTANCE
    return bend / (1.0 + step * step)


def binomial_levels(images: np.ndarray, levels: int) -> np.ndarray:
    """Filter images by 1-2-1 in both directions with steps of 1, 2, 4 …; the border is repeated.

    Args:
        images: (V, rows, columns).
        levels: number of steps.
    """
    for level in range(levels):
        step = 2**level
        for axis in (1, 2):
            padded = np.pad(images, [(step, step) if a == axis else (0, 0) for a in range(3)], mode="edge")
            before, after = (_run(padded, axis, start, images.shape[axis]) for start in (0, 2 * step))
            images = 0.5 * images + 0.25 * (before + after)
    return images


def _run(images: np.ndarray, axis: int, start: int, length: int) -> np.ndarray:
    return images[:, start : start + length] if axis == 1 else images[:, :, start : start + length]


def double(images: np.ndarray, size: int) -> np.ndarray:
    """Interpolate images (V, size, size) from their even rows and columns, linearly.

    Args:
        images: (V, rows, columns).
        size: size of the result, in pixels.
    """
    result = np.empty((len(images), size, size), images.dtype)
    half = size // 2
    result[:, ::2, ::2] = images
    after = np.concatenate([images[:, :, 1:], images[:, :, -1:]], 2)[:, :, :half]
    result[:, ::2, 1::2] = 0.5 * (images[:, :, :half] + after)
    rows = result[:, ::2]
    result[:, 1::2] = 0.5 * (rows[:, :half] + np.concatenate([rows[:, 1:], rows[:, -1:]], 1)[:, :half])
    return result
