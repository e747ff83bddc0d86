"""Pictures of sweeps from above: points by height, boxes with heading, motion arrows, and maps of features.

Forward (x) is up and left (y) is left, as the driver sees it. Drawn with Pillow at twice the size and averaged down, so
that the same scene gives the same bytes on every machine and no plotting library is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
BACKGROUND: Colour = (16, 19, 24)
RING: Colour = (43, 49, 59)
EGO: Colour = (236, 239, 244)
BOX: Colour = (255, 158, 77)
FOUND: Colour = (110, 196, 255)
MOVING: Colour = (255, 96, 144)
# dark to bright with height: the road stays in the background, roofs and crowns stand out
HEIGHTS = np.array([[52, 61, 88], [52, 90, 130], [38, 130, 142], [67, 176, 122], [159, 212, 84], [250, 231, 90]])
ROAD = -1.4  # metres from the sensor; what is higher is drawn a little larger
THIN = 20_000  # points; the dots of a thinner cloud are all drawn larger
SAMPLING = 2  # pixels drawn for one of the picture, along each side
CUT = 0.02  # share of component values that saturate at either end


@dataclass(frozen=True)
class Window:
    """Part of the ground that a picture shows.

    Attributes:
        x, y: lowest and highest, metres.
        pixels: height of the picture; its width follows.
    """

    x: tuple[float, float] = (-25.6, 25.6)
    y: tuple[float, float] = (-25.6, 25.6)
    pixels: int = 480

    def __post_init__(self) -> None:
        if self.x[1] <= self.x[0] or self.y[1] <= self.y[0] or self.pixels < 1:
            raise ValueError(f"expected a window of positive size, got {self}")

    @property
    def scale(self) -> float:
        """Drawn pixels in a metre."""
        return SAMPLING * self.pixels / (self.x[1] - self.x[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as drawn."""
        return SAMPLING * max(1, round((self.y[1] - self.y[0]) * self.scale / SAMPLING)), SAMPLING * self.pixels

    def place(self, xy: np.ndarray) -> np.ndarray:
        """Map x, y in metres (N, 2) to column, row (N, 2)."""
        return np.stack([(self.y[1] - xy[:, 1]) * self.scale, (self.x[1] - xy[:, 0]) * self.scale], axis=1)


def draw_sweep(
    points: np.ndarray,
    boxes: np.ndarray | None = None,
    flow: np.ndarray | None = None,
    window: Window | None = None,
    ahead: float = 5.0,
    slowest: float = 0.05,
    found: np.ndarray | None = None,
) -> Image.Image:
    """Draw a sweep from above.

    Args:
        points: (N, 3+) x, y, z.
        boxes: (M, 7) centre, size, heading; drawn with a line from the centre to the front.
        flow: (N, 3) motion to the next sweep; give each point's own motion over ground to see what moves.
        window: what to show; 51.2 m around the sensor by default.
        ahead: arrows reach this many sweeps ahead.
        slowest: motion in metres below which a place gets no arrow.
        found: (K, 7) boxes that a detector found, in another colour.
    """
    window = window or Window()
    canvas = _canvas(window)
    shown = _draw_points(canvas, points, height_colours(points[:, 2]), window)
    picture = Image.fromarray(shown)
    draw = ImageDraw.Draw(picture)
    for box in boxes if boxes is not None else ():
        _draw_box(draw, box, window)
    for box in found if found is not None else ():
        _draw_box(draw, box, window, FOUND)
    if flow is not None:
        for start, motion in zip(*arrows(points, flow, slowest), strict=True):
            _draw_arrow(draw, start, motion * ahead, window)
    _draw_ego(draw, window)
    return _finish(picture)


def height_colours(z: np.ndarray, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Return colours (N, 3) uint8 by height over the sensor.

    Args:
        z: (N,) metres.
        low: height of the darkest colour.
        high: height of the brightest one.
    """
    share = np.clip((z - low) / (high - low), 0, 1) * (len(HEIGHTS) - 1)
    return np.stack([np.interp(share, np.arange(len(HEIGHTS)), channel) for channel in HEIGHTS.T], 1).astype(np.uint8)


def arrows(points: np.ndarray, flow: np.ndarray, slowest: float, spacing: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Compute starts and mean motions (A, 2) of places of ``spacing`` metres with at least three points that move.

    Args:
        points: (N, 3+).
        flow: (N, 3) metres.
        slowest: motion that counts, metres.
        spacing: side of a place, metres.
    """
    moving = np.linalg.norm(flow[:, :2], axis=1) >= slowest
    xy, motion = points[moving, :2].astype(np.float64), flow[moving, :2].astype(np.float64)
    if not len(xy):
        return np.zeros((0, 2)), np.zeros((0, 2))
    _, place, counts = np.unique(np.floor(xy / spacing), axis=0, return_inverse=True, return_counts=True)
    means = [np.stack([np.bincount(place.ravel(), column) for column in values.T], 1) for values in (xy, motion)]
    return tuple((mean / counts[:, None])[counts >= 3] for mean in means)  # type: ignore[return-value]


def draw_cells(
    cells: np.ndarray,
    colours: np.ndarray,
    low: tuple[float, float],
    size: float,
    window: Window | None = None,
    angle: float = 0.0,
) -> Image.Image:
    """Draw a map of coloured ground cells.

    Args:
        cells: (M, 2) indices along x and y.
        colours: (M, 3) uint8.
        low: x and y of the corner of cell (0, 0), metres.
        size: side of a cell, metres.
        window: what to show.
        angle: radians by which the cells' scene was rotated; it is turned back, to lie over the scene as it was.
    """
    window = window or Window()
    picture = Image.fromarray(_canvas(window))
    draw = ImageDraw.Draw(picture)
    cos, sin = np.cos(-angle), np.sin(-angle)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    square = (cells[:, None].astype(np.float64) + corners) * size + np.asarray(low, dtype=np.float64)
    square = square @ np.array([[cos, sin], [-sin, cos]])
    for polygon, colour in zip(square, colours, strict=True):
        draw.polygon([tuple(p) for p in window.place(polygon).tolist()], fill=tuple(colour.tolist()))
    _draw_ego(draw, window)
    return _finish(picture)


def component_colours(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Map component values of several maps (M, 3) to red, green and blue (M, 3) uint8, on one scale for all."""
    together = np.concatenate(values).astype(np.float64)
    low, high = np.quantile(together, [CUT, 1 - CUT], axis=0) if len(together) else (np.zeros(3), np.ones(3))
    span = np.where(high > low, high - low, 1.0)
    # from 40 up: a cell is never as dark as an empty place
    return [(40 + 215 * np.clip((v.astype(np.float64) - low) / span, 0, 1)).astype(np.uint8) for v in values]


def _canvas(window: Window) -> np.ndarray:
    width, height = window.size
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    column, row = window.place(np.zeros((1, 2)))[0]
    for ring in range(10, int(max(map(abs, (*window.x, *window.y))) * 1.5) + 1, 10):
        r = ring * window.scale
        draw.ellipse([column - r, row - r, column + r, row + r], outline=RING, width=SAMPLING)
    return np.array(canvas)


def _draw_points(canvas: np.ndarray, points: np.ndarray, colours: np.ndarray, window: Window) -> np.ndarray:
    """Draw dots of one pixel of the picture, larger above the road or in a thin cloud; higher cover lower ones."""
    order = np.argsort(points[:, 2], kind="stable")
    place = np.floor(window.place(points[order, :2])).astype(np.int64)
    raised = (points[order, 2] > ROAD) | (len(points) < THIN)
    for across in range(SAMPLING + 1):
        for down in range(SAMPLING + 1):
            column, row = place[:, 0] + across, place[:, 1] + down
            inside = (column >= 0) & (row >= 0) & (column < canvas.shape[1]) & (row < canvas.shape[0])
            if max(across, down) == SAMPLING:
                inside &= raised
            canvas[row[inside], column[inside]] = colours[order][inside]
    return canvas


def _draw_box(draw: ImageDraw.ImageDraw, box: np.ndarray, window: Window, colour: Colour = BOX) -> None:
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[cos, sin], [-sin, cos]])
    half = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * box[3:5] / 2
    outline = window.place(half @ turn + box[:2])
    front = window.place(np.array([[0.0, 0.0], [box[3] / 2 + 0.8, 0.0]]) @ turn + box[:2])
    draw.line([tuple(p) for p in [*outline.tolist(), outline[0].tolist()]], fill=colour, width=SAMPLING)
    draw.line([tuple(p) for p in front.tolist()], fill=colour, width=SAMPLING)


def _draw_arrow(draw: ImageDraw.ImageDraw, start: np.ndarray, motion: np.ndarray, window: Window) -> None:
    tail, tip = window.place(np.stack([start, start + motion]))
    length = float(np.linalg.norm(tip - tail))
    if length < 2 * SAMPLING:
        return
    along = (tip - tail) / length
    across, head = np.array([-along[1], along[0]]), min(5.0 * SAMPLING, length)
    neck = tip - head * along
    draw.line([tuple(tail), tuple(neck)], fill=MOVING, width=SAMPLING + 1)
    draw.polygon([tuple(tip), tuple(neck + 0.45 * head * across), tuple(neck - 0.45 * head * across)], fill=MOVING)


def _draw_ego(draw: ImageDraw.ImageDraw, window: Window) -> None:
    """Draw a triangle at the sensor that points forward."""
    corners = window.place(np.array([[1.6, 0.0], [-1.0, 0.9], [-1.0, -0.9]]))
    draw.polygon([tuple(p) for p in corners.tolist()], fill=EGO, outline=BACKGROUND)


def _finish(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // SAMPLING, picture.height // SAMPLING), Image.Resampling.BOX)
