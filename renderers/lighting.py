"""Irradiance at a surface point: sun and sky in closed form, floor bounce, and the spot light.

Vectors are three arrays (x, y, z), in a tuple or stacked: sums over a last axis of three are slow in NumPy. All light
formulas give irradiance E; a Lambert surface of albedo ρ then has radiance ρE/π.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from equissl.renderers import scene

Vector = Sequence[np.ndarray] | np.ndarray

OPEN_SKY_IRRADIANCE = math.pi * scene.WORLD_RADIANCE


def dot(a: Vector, b: Vector) -> np.ndarray:
    """Compute the scalar product, coordinate by coordinate.

    Args:
        a: vectors.
        b: vectors.
    """
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def sun_irradiance(cos_tilt: np.ndarray, strength: float = scene.SUN_IRRADIANCE) -> np.ndarray:
    """Compute the irradiance from the unoccluded sun cap.

    The cap has half-angle 45° around +z and constant radiance. Integrated numerically in float64; upward surfaces get
    ``strength`` exactly, surfaces with n_z ≤ -sin 45° nothing.

    Args:
        cos_tilt: z component of the normals.
        strength: irradiance by the sun on level ground.
    """
    polar = (np.arange(400) + 0.5) / 400 * scene.SUN_HALF_ANGLE
    azimuth = (np.arange(360) + 0.5) / 360 * math.pi
    tilt = np.arccos(np.clip(np.asarray(cos_tilt, np.float64), -1, 1))[..., None, None]
    cosine = np.cos(tilt) * np.cos(polar)[:, None] + np.sin(tilt) * np.sin(polar)[:, None] * np.cos(azimuth)
    weight = np.sin(polar) * (math.pi / 360) * (scene.SUN_HALF_ANGLE / 400) * 2
    radiance = strength / (math.pi * math.sin(scene.SUN_HALF_ANGLE) ** 2)
    return radiance * (np.maximum(cosine, 0).sum(-1) * weight).sum(-1)


_TILT_STEPS = 2048


@lru_cache(maxsize=4)
def sky_table(sun_strength: float) -> np.ndarray:
    """Tabulate sun plus world irradiance without occlusion against n_z = -1 … 1: float32 (2049,)."""
    nodes = np.linspace(-1, 1, 129)
    n_z = np.linspace(-1, 1, _TILT_STEPS + 1)
    sun = np.interp(n_z, nodes, sun_irradiance(nodes, sun_strength))
    return (sun + OPEN_SKY_IRRADIANCE * (1 + n_z) / 2).astype(np.float32)


def sky_irradiance(n_z: np.ndarray, sun_strength: float) -> np.ndarray:
    """Compute sun plus world irradiance without occlusion; the sky is the half-space above the horizon.

    Args:
        n_z: z component of the normals.
        sun_strength: irradiance by the sun on level ground.
    """
    index = (n_z * (_TILT_STEPS // 2) + (_TILT_STEPS // 2 + 0.5)).astype(np.int32)
    return sky_table(sun_strength).take(index, mode="clip")


def floor_irradiance(sun_strength: float) -> float:
    """Compute the irradiance of the open floor, without the spot light."""
    return sun_strength + OPEN_SKY_IRRADIANCE


def spot_irradiance(offset: Vector, axis: Vector, distance2: np.ndarray) -> np.ndarray:
    """Irradiance per unit cosine from one point of the spot light, for white light and without shadow.

    Args:
        offset: vector from the surface point to the light.
        axis: unit direction in which the spot light points.
        distance2: squared length of ``offset``.

    Returns:
        I·a(θ)/d³: multiply by offset·n (not normalised) to get irradiance. The cone's edge is a smoothstep over the
        outer 15 % of 1 - cos β.
    """
    inverse = 1.0 / np.sqrt(distance2)
    edge = math.cos(scene.SPOT_HALF_ANGLE)
    falloff = dot(offset, axis) * inverse
    falloff += edge
    falloff *= -1.0 / (scene.SPOT_BLEND * (1.0 - edge))
    np.clip(falloff, 0.0, 1.0, out=falloff)
    falloff *= falloff * (3.0 - 2.0 * falloff)
    falloff *= inverse * inverse * inverse
    falloff *= scene.SPOT_INTENSITY
    return falloff


def disk_points(
    samples: int, turn: tuple[np.ndarray, np.ndarray], stretch: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sample points on the spot light's disk, as two coordinates in scene units.

    The points lie on a Vogel spiral that each pixel turns and stretches by its own amount, so that the pattern
    becomes fine noise instead of bands.

    Args:
        samples: number of points.
        turn: cosine and sine of each pixel's angle.
        stretch: number in [0, 1) of each pixel, which moves the points outwards.
    """
    golden = math.pi * (3.0 - math.sqrt(5.0))
    points = []
    for i in range(samples):
        radius = scene.SPOT_RADIUS * np.sqrt((i + stretch) * (1.0 / samples))
        c, s = math.cos(i * golden), math.sin(i * golden)
        points.append((radius * (c * turn[0] - s * turn[1]), radius * (s * turn[0] + c * turn[1])))
    return points


def perpendicular_basis(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors (V, 3) that complete unit ``direction`` (V, 3) to an orthonormal frame."""
    # Duff et al., "Building an Orthonormal Basis, Revisited", JCGT 2017.
    x, y, z = direction.T
    sign = np.where(z >= 0, 1.0, -1.0).astype(direction.dtype)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], 1)
    second = np.stack([b, sign + y * y * a, -y], 1)
    return first, second
