"""Views of one mesh with spot light and camera in object coordinates.

Samples of several views lie in one array (pixel number = view · P + pixel), because small images would otherwise spend
their time in array-call overhead. Arrays of sub-samples are (K, pixels).
"""

from __future__ import annotations

import math

import numpy as np

from equissl.renderers import scene
from equissl.renderers.camera import PixelGrid
from equissl.renderers.lighting import Vector, disk_points, dot, perpendicular_basis
from equissl.renderers.sampling import sequence, tile_rank
from equissl.renderers.scene import ViewArrays


class Views:
    """V views with spot light and camera also in object coordinates; attributes are (3, V) float32 unless noted."""

    def __init__(self, arrays: ViewArrays, grid: PixelGrid) -> None:
        self.arrays, self.grid = arrays, grid
        camera = np.broadcast_to(np.array(scene.CAMERA_POSITION, np.float32), (len(arrays), 3))
        self.rotation = np.ascontiguousarray(arrays.rotation.transpose(1, 2, 0))  # (3, 3, V)
        self.translation = np.ascontiguousarray(arrays.translation.T)
        self.camera = np.ascontiguousarray(arrays.to_object_frame(camera).T)
        self.light = np.ascontiguousarray(arrays.light_position.T)
        self.light_in_object = np.ascontiguousarray(arrays.to_object_frame(arrays.light_position).T)
        axis = arrays.light_position * np.float32(-1.0 / scene.SPOT_DISTANCE)
        self.axis = np.ascontiguousarray(axis.T)
        self.disk = [np.ascontiguousarray(b.T) for b in perpendicular_basis(axis)]
        self.axis_in_object, *self.disk_in_object = (
            np.ascontiguousarray(arrays.direction_to_object_frame(a).T) for a in (axis, self.disk[0].T, self.disk[1].T)
        )

    def __len__(self) -> int:
        return len(self.arrays)

    def gather(self, lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Join pixel lists, one per view, to one array with the view of each entry."""
        view = np.repeat(np.arange(len(lists), dtype=np.int32), [len(pixels) for pixels in lists])
        return np.concatenate(lists), view

    def world_axis(self, axis: int, view: np.ndarray) -> Vector:
        """Express a world axis in each sample's object frame.

        Args:
            axis: 0, 1 or 2.
            view: (n,) index of the view.
        """
        return columns(self.rotation[axis], view)

    def to_object(self, point: Vector, view: np.ndarray) -> Vector:
        """Express world points in each sample's object frame.

        Args:
            point: (n,) coordinates.
            view: (n,) index of the view.
        """
        shift = per_sample(self.translation, view)
        relative = (point[0] - shift[0], point[1] - shift[1], point[2] - shift[2])
        return turn_to_object(per_sample(self.rotation, view), relative)


def per_sample(values: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Take the values of each sample's view, (…, n); with one view (…, 1), which broadcasts to the same.

    Args:
        values: (…, V).
        view: (n,) index of the view.
    """
    return values if values.shape[-1] == 1 else values[..., view]


def columns(vectors: np.ndarray, view: np.ndarray) -> Vector:
    """Take the vectors of each sample's view, coordinate by coordinate.

    Args:
        vectors: (3, V).
        view: (n,) index of the view.
    """
    gathered = per_sample(vectors, view)
    return gathered[0], gathered[1], gathered[2]


def turn_to_object(rotation: np.ndarray, vector: Vector) -> Vector:
    """Compute Rᵀ times a world vector.

    Args:
        rotation: (3, 3, n).
        vector: (n,) coordinates.
    """
    x, y, z = (dot((rotation[0, i], rotation[1, i], rotation[2, i]), vector) for i in range(3))
    return x, y, z


SpotNoise = tuple[tuple[np.ndarray, np.ndarray], np.ndarray]  # cosine and sine of a turn, and a stretch in [0, 1)


def white_noise(grid: PixelGrid, grid_sample: np.ndarray) -> SpotNoise:
    """Create noise independent for every sub-sample of a pixel grid.

    Args:
        grid: grid of pixels.
        grid_sample: (n,) index of each sub-sample.
    """
    return (grid.turn[0].ravel()[grid_sample], grid.turn[1].ravel()[grid_sample]), grid.stretch.ravel()[grid_sample]


def tile_noise(row: np.ndarray, column: np.ndarray) -> SpotNoise:
    """Create noise in which neighbours of an image complement each other.

    Args:
        row: row of each pixel.
        column: column of each pixel.
    """
    rank = tile_rank(row, column)
    turn, stretch = sequence(16, 2).astype(np.float32)
    turn = 2 * np.float32(math.pi) * turn
    return (np.cos(turn)[rank], np.sin(turn)[rank]), stretch[rank]


def fixed_noise() -> SpotNoise:
    """None: the same pattern everywhere."""
    return (np.ones(1, np.float32), np.zeros(1, np.float32)), np.full(1, 0.5, np.float32)


def spot_points(
    centre: np.ndarray, disk: list[np.ndarray], view: np.ndarray, samples: int, noise: SpotNoise
) -> list[Vector]:
    """Yield points of the spot light as seen by each sample: its centre, or several of its disk.

    Args:
        centre: (3, V) of the light.
        disk: its two axes.
        view: (n,) index of the view.
        samples: number of points.
        noise: noise of the samples.
    """
    middle = columns(centre, view)
    if samples == 1:
        return [middle]
    first, second = (columns(b, view) for b in disk)
    points = disk_points(samples, *noise)
    return [tuple(middle[i] + a * first[i] + b * second[i] for i in range(3)) for a, b in points]


def spot_reach(samples: int) -> float:
    """Compute the angle at the spot light beyond which nothing is lit, as seen from its centre."""
    return scene.SPOT_HALF_ANGLE + (math.atan(scene.SPOT_RADIUS / 3.0) if samples > 1 else 0.0)
