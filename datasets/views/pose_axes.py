"""Pose of an object, drawn on its picture as the axes of its own reference frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from equissl.renderers.camera import project
from equissl.renderers.scene import view_parameters

AXIS_LENGTH = 0.45  # of the object's diagonal: a little less than its half
_COLOURS = ((230, 40, 40), (40, 190, 60), (50, 90, 255))
_OVERSAMPLING = 4


def project_axes(latents: np.ndarray, names: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Project an object's origin and the tips of its axes into the image.

    Args:
        latents: (L,) of one view.
        names: names of the latents.
        size: side of the image in pixels.

    Returns:
        (4, 2) columns and rows, pixel centres at whole numbers: origin, x, y, z; and (4,) depths.
    """
    view = view_parameters(np.asarray(latents)[None], names)[0]
    points = view.translation + np.concatenate([np.zeros((1, 3)), AXIS_LENGTH * view.rotation.T])
    row, column, depth = project(points, size)
    return np.stack([column, row], axis=1), depth


def draw_axes(image: Image.Image, latents: np.ndarray, names: Sequence[str]) -> Image.Image:
    """Draw a square picture with the object's axes on it: x red, y green, z blue, the farthest drawn first.

    Args:
        image: rendered from ``latents``.
        latents: (L,).
        names: names of the latents.
    """
    ends, depth = project_axes(latents, names, image.width)
    overlay = Image.new("RGBA", (image.width * _OVERSAMPLING,) * 2)
    draw = ImageDraw.Draw(overlay)
    ends = (ends + 0.5) * _OVERSAMPLING
    width = max(1.0, image.width / 85) * _OVERSAMPLING
    for axis in np.argsort(-depth[1:]).tolist():
        line = [tuple(ends[0]), tuple(ends[axis + 1])]
        for colour, extra in (((255, 255, 255, 200), 1.7), ((*_COLOURS[axis], 255), 1.0)):
            draw.line(line, fill=colour, width=round(width * extra))
            _dot(draw, ends[axis + 1], width * extra, colour)
    _dot(draw, ends[0], width, (255, 255, 255, 255))
    overlay = overlay.resize(image.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB")


def _dot(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
    x, y = centre.tolist()
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
