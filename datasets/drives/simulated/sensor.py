"""Simulated sensor: its directions, hits and returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from equissl.datasets.drives.simulated.options import DriveOptions
from equissl.datasets.drives.simulated.shapes import Solid

_MISSING = -1
_WEAKEST = 0.012  # share of an ideal near return's power below which returns get lost


def beam_elevations(beams: int) -> np.ndarray:
    """(beams,) radians from the highest down: +2 to -8.33 degrees in steps of 1/3, -8.83 to -24.33 in steps of 1/2.

    This is the nominal HDL-64E (upper and lower block of 32); other numbers of beams are spread over the same curve.
    """
    upper = 2 - np.arange(32) / 3
    nominal = np.concatenate([upper, upper[-1] - 0.5 - np.arange(32) / 2])
    place = np.linspace(0, 63, beams) if beams > 1 else np.array([31.5])
    return np.deg2rad(np.interp(place, np.arange(64), nominal))


def ray_directions(options: DriveOptions) -> np.ndarray:
    """(beams · columns, 3) float64 unit vectors in the sensor's frame, row by row, turning from behind to the left."""
    elevation = beam_elevations(options.beams)[:, None]
    azimuth = np.pi - (np.arange(options.columns) + 0.5) * (2 * np.pi / options.columns)
    level = np.cos(elevation)
    up = np.broadcast_to(np.sin(elevation), (options.beams, options.columns))
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), up], axis=-1).reshape(-1, 3)


class Raycaster:
    """Ray caster of a solid in an Embree scene."""

    def __init__(self, solid: Solid) -> None:
        o3d = _open3d()
        self._from_numpy, self._empty = o3d.core.Tensor.from_numpy, not len(solid.faces)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._albedo = solid.albedo
        if not self._empty:
            vertices = self._from_numpy(np.ascontiguousarray(solid.vertices, np.float32))
            self._scene.add_triangles(vertices, self._from_numpy(solid.faces.astype(np.uint32)))

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """Cast rays; first hits, (n,) each: ``range`` (inf: none), ``face`` (-1: none), ``cosine`` and ``albedo``.

        Args:
            origin: (3,) or (n, 3) world position.
            directions: (n, 3) unit vectors.
        """
        count = len(directions)
        if self._empty:
            nothing = np.zeros(count)
            return {"range": nothing + np.inf, "face": np.full(count, _MISSING), "cosine": nothing, "albedo": nothing}
        rays = np.concatenate([np.broadcast_to(origin, (count, 3)), directions], axis=1).astype(np.float32)
        answer = self._scene.cast_rays(self._from_numpy(rays), nthreads=1)
        distance = answer["t_hit"].numpy().astype(np.float64)
        hit = np.isfinite(distance)
        face = np.where(hit, answer["primitive_ids"].numpy().astype(np.int64), _MISSING)
        cosine = np.abs((answer["primitive_normals"].numpy() * directions).sum(axis=1))
        return {"range": distance, "face": face, "cosine": cosine, "albedo": np.where(hit, self._albedo[face], 0.0)}

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Compute (n,) metres from points (n, 3) to the nearest surface.

        Raises:
            ValueError: for a solid without triangles.
        """
        if self._empty:
            raise ValueError("expected a solid with triangles to measure the distance to, it has none")
        answer = self._scene.compute_distance(self._from_numpy(np.ascontiguousarray(points, np.float32)), nthreads=1)
        return answer.numpy().astype(np.float64)


def measure(
    distance: np.ndarray, cosine: np.ndarray, albedo: np.ndarray, options: DriveOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate the sensor's returns of first hits.

    The power of a Lambertian return falls with the square of the range; where it comes near the weakest that can be
    seen, returns get lost. Each ray has its own random numbers whatever it hits.

    Args:
        distance: (n,) metres, inf where nothing was hit.
        cosine: (n,) of the angle between ray and surface normal, in [0, 1].
        albedo: (n,) in [0, 1].
        options: noise, dropout and ranges.
        rng: the frame's random numbers.

    Returns:
        index (m,) of the rays with a return, their measured range (m,) and intensity (m,) in [0, 1].
    """
    noise, luck, lost = rng.standard_normal(len(distance)), rng.random(len(distance)), rng.random(len(distance))
    brightness = albedo * cosine
    power = brightness * (options.max_range / np.maximum(distance, 1e-3)) ** 2
    seen = (luck * _WEAKEST < power) & (lost >= options.dropout)
    measured = distance + options.noise * noise
    index = np.flatnonzero(seen & (measured >= options.min_range) & (measured <= options.max_range))
    return index, measured[index], np.clip(np.sqrt(brightness[index]), 0, 1)


def _open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        advice = "pip install open3d-cpu, and on Debian: apt-get install -y libusb-1.0-0"
        raise ImportError(
            f"simulated drives cast rays with Open3D, which cannot be loaded ({error}): {advice}"
        ) from error
    return open3d
