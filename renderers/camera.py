"""Camera rays of an image size, computed once and shared by all views and meshes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from equissl.renderers import scene
from equissl.renderers.lighting import Vector

# Cycles' Blackman-Harris pixel filter acts like a Gaussian of 0.41 pixels; equal-weight samples at these offsets come
# nearest.
SUBPIXEL_OFFSETS = {1: (0.0,), 2: (-0.41, 0.41), 3: (-0.5, 0.0, 0.5)}


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """Rays through K sub-samples of P = size² pixels, in world coordinates. Arrays are (K, P) float32.

    Attributes:
        size: image width and height.
        direction: unit ray directions, three arrays.
        floor_t: distance along the ray to the floor (every ray hits it: the camera looks down).
        floor_x, floor_y: where.
        turn: cosine and sine of a pseudo-random angle per sub-sample.
        stretch: pseudo-random number in [0, 1) per sub-sample.
        field_of_view: of the whole image, in radians.
    """

    size: int
    direction: Vector
    floor_t: np.ndarray
    floor_x: np.ndarray
    floor_y: np.ndarray
    turn: tuple[np.ndarray, np.ndarray]
    stretch: np.ndarray
    field_of_view: float = scene.CAMERA_FIELD_OF_VIEW

    @property
    def pixel_width(self) -> float:
        """Width of a pixel at distance 1."""
        return pixel_width(self.size, self.field_of_view)

    @property
    def samples(self) -> int:
        return len(self.floor_t)

    @property
    def pixels(self) -> int:
        return self.size * self.size

    @cached_property
    def floor_middle(self) -> tuple[np.ndarray, np.ndarray]:
        """World x and y (P,) of the floor in the middle of each pixel."""
        return self.floor_x.mean(0), self.floor_y.mean(0)

    def near_sphere(self, centre: np.ndarray, radius: float) -> np.ndarray:
        """List the pixels whose rays may meet a sphere.

        Args:
            centre: (3,).
            radius: radius of the sphere.
        """
        return _near_sphere(self, tuple(float(c) for c in centre), float(radius))

    def spot_patch(self, light: np.ndarray, half_angle: float, step: int = 1) -> np.ndarray:
        """List the pixels in the rectangle around the floor patch inside the spot light's cone.

        With ``step`` 2 only those in even rows and columns.

        Args:
            light: (3,) position.
            half_angle: half angle of the cone, radians.
            step: 2 keeps even rows and columns alone.
        """
        patch = self._spot_rectangle(np.asarray(light, np.float64), half_angle)
        top, bottom, left, right = (0, self.size, 0, self.size) if patch is None else patch
        top, left = -(-top // step) * step, -(-left // step) * step
        return (np.arange(top, bottom, step)[:, None] * self.size + np.arange(left, right, step)).ravel()

    def _spot_rectangle(self, light: np.ndarray, half_angle: float) -> tuple[int, int, int, int] | None:
        distance = np.linalg.norm(light)
        first, second = _complete(light / distance)
        angle = np.arange(24) * (2 * math.pi / 24)
        # Circumscribed about the cone: chords of 24 points fall short by less than 1 %.
        spread = math.tan(half_angle) / math.cos(math.pi / 24)
        rim = -light / distance + spread * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
        if (rim[:, 2] > -1e-3).any():
            return None
        points = light + rim * ((scene.FLOOR_Z - light[2]) / rim[:, 2])[:, None]
        row, column, depth = project(points, self.size, self.field_of_view)
        if (depth < 1e-2).any():
            return None
        low = np.floor([row.min(), column.min()]) - 1
        high = np.ceil([row.max(), column.max()]) + 2
        (top, left), (bottom, right) = np.clip([low, high], 0, self.size).astype(int).tolist()
        return top, bottom, left, right


def _complete(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    helper = np.eye(3)[np.abs(direction).argmin()]
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(direction, first)


def pixel_width(size: int, field_of_view: float) -> float:
    """Return the width of a pixel at distance 1.

    Args:
        size: of the image, in pixels.
        field_of_view: of the whole image, in radians.
    """
    return 2 * math.tan(field_of_view / 2) / size


def project(
    points: np.ndarray, size: int, field_of_view: float = scene.CAMERA_FIELD_OF_VIEW
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project world points to image row, column (pixel centres at whole numbers) and depth.

    Args:
        points: (..., 3).
        size: size of the image, in pixels.
        field_of_view: of the whole image, in radians.
    """
    relative = np.asarray(points, np.float64) - np.array(scene.CAMERA_POSITION)
    right, up, forward = (
        relative @ np.array(axis) for axis in (scene.CAMERA_RIGHT, scene.CAMERA_UP, scene.CAMERA_FORWARD)
    )
    scale = 1 / pixel_width(size, field_of_view)
    with np.errstate(divide="ignore", invalid="ignore"):
        return size / 2 - 0.5 - up / forward * scale, size / 2 - 0.5 + right / forward * scale, forward


@lru_cache(maxsize=8)
def pixel_grid(size: int, antialias: int, field_of_view: float = scene.CAMERA_FIELD_OF_VIEW) -> PixelGrid:
    """Return the grid of an image size with antialias² samples a pixel.

    Args:
        size: size of the image, in pixels.
        antialias: samples along one side of a pixel.
        field_of_view: of the whole image, in radians.
    """
    offsets = SUBPIXEL_OFFSETS[antialias]
    dy, dx = (o.reshape(-1, 1, 1) for o in np.meshgrid(offsets, offsets, indexing="ij"))
    scale = pixel_width(size, field_of_view)
    x = (np.arange(size) + 0.5 - size / 2 + dx) * scale
    y = (size / 2 - np.arange(size)[:, None] - 0.5 - dy) * scale
    x, y = np.broadcast_arrays(x, y)
    frame = zip(scene.CAMERA_RIGHT, scene.CAMERA_UP, scene.CAMERA_FORWARD, strict=True)
    direction = np.stack([x * r + y * u + f for r, u, f in frame])
    direction = (direction / np.linalg.norm(direction, axis=0)).reshape(3, len(offsets) ** 2, size * size)
    floor_t = (scene.FLOOR_Z - scene.CAMERA_POSITION[2]) / direction[2]
    floor_x, floor_y = (scene.CAMERA_POSITION[i] + floor_t * direction[i] for i in (0, 1))
    # Fixed noise, no function of the view: images do not depend on what is rendered with them.
    noise = np.random.Generator(np.random.PCG64(20240229)).random((2, *floor_t.shape))
    turn = 2 * np.pi * noise[0]
    rays = [np.ascontiguousarray(d, np.float32) for d in direction]
    t, x, y, cos, sin, stretch = (
        a.astype(np.float32) for a in (floor_t, floor_x, floor_y, np.cos(turn), np.sin(turn), noise[1])
    )
    return PixelGrid(size, (rays[0], rays[1], rays[2]), t, x, y, (cos, sin), stretch, field_of_view)


@lru_cache(maxsize=64)
def _near_sphere(grid: PixelGrid, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    offset = [c - o for c, o in zip(centre, scene.CAMERA_POSITION, strict=True)]
    distance2 = sum(o * o for o in offset)
    # One pixel diagonal at the sphere's distance covers the sub-samples.
    margin = 1.5 * grid.pixel_width * (math.sqrt(distance2) + radius)
    middle = [d[grid.samples // 2] for d in grid.direction]
    along = sum(d * np.float32(o) for d, o in zip(middle, offset, strict=True))
    near = distance2 - along * along <= (radius + margin) ** 2
    return np.flatnonzero(near & ((along > 0) | (distance2 < radius * radius)))
