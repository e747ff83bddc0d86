"""Light formulas and image curves on tensors: :mod:`~equissl.renderers.lighting`, :mod:`~equissl.renderers.image`.

Vectors are three tensors or a tensor whose first axis is (x, y, z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from equissl.renderers import image, lighting, scene
from equissl.renderers.device_mesh import MeshBatch
from equissl.util.srgb import srgb_decode

Vector3 = Sequence[Tensor] | Tensor


def dot(a: Vector3, b: Vector3) -> Tensor:
    """Compute the scalar product, coordinate by coordinate.

    Args:
        a: vectors.
        b: vectors.
    """
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@lru_cache(maxsize=8)
def _sky_table(sun_strength: float, device: torch.device) -> Tensor:
    return torch.from_numpy(lighting.sky_table(sun_strength).copy()).to(device)


def sky_irradiance(n_z: Tensor, sun_strength: float) -> Tensor:
    """Compute sun plus world irradiance without occlusion.

    Args:
        n_z: z components of the normals.
        sun_strength: irradiance by the sun on level ground.
    """
    table = _sky_table(sun_strength, n_z.device)
    half = (len(table) - 1) // 2
    return table[(n_z * half + (half + 0.5)).int().clamp(0, 2 * half)]


def spot_irradiance(offset: Vector3, axis: Vector3, distance2: Tensor) -> Tensor:
    """Compute the irradiance per unit cosine from one point of the spot light: I·a(θ)/d³.

    See :func:`equissl.renderers.lighting.spot_irradiance`.

    Args:
        offset: from the surface to the point of the light.
        axis: unit direction in which the spot light points.
        distance2: squared length of ``offset``.
    """
    inverse = 1.0 / distance2.sqrt()
    edge = math.cos(scene.SPOT_HALF_ANGLE)
    falloff = (dot(offset, axis) * inverse + edge) * (-1.0 / (scene.SPOT_BLEND * (1.0 - edge)))
    falloff = falloff.clamp(0.0, 1.0)
    return falloff * falloff * (3.0 - 2.0 * falloff) * inverse * inverse * inverse * scene.SPOT_INTENSITY


def disk_point(number: int, samples: int, turn_cos: Tensor, turn_sin: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """Return one of ``samples`` points on the spot light's disk as two coordinates.

    See :func:`equissl.renderers.lighting.disk_points`.

    Args:
        number: number of the point.
        samples: points of the disk.
        turn_cos: cosine of a random turn.
        turn_sin: its sine.
        stretch: random number in [0, 1).
    """
    radius = scene.SPOT_RADIUS * ((number + stretch) * (1.0 / samples)).sqrt()
    angle = number * math.pi * (3.0 - math.sqrt(5.0))
    c, s = math.cos(angle), math.sin(angle)
    return radius * (c * turn_cos - s * turn_sin), radius * (s * turn_cos + c * turn_sin)


# Display values are looked up by the upper bits of the float, as in image.to_display: sign, exponent and 11 bits of the
# mantissa.
_SHIFT = 12
_LOWEST, _HIGHEST = 2.0**-14, 2.0**6


@lru_cache(maxsize=8)
def _display_table(view_transform: str, device: torch.device) -> tuple[Tensor, int]:
    first, last = (np.array([_LOWEST, _HIGHEST], np.float32).view(np.int32) >> _SHIFT).tolist()
    middle = (np.arange(first, last + 1, dtype=np.int32) << _SHIFT) + (1 << (_SHIFT - 1))
    return torch.from_numpy(image.to_display(middle.view(np.float32), view_transform)).to(device), first


def to_display(linear: Tensor, view_transform: str) -> Tensor:
    """Convert scene-linear float32 values to 8-bit display values of the same shape.

    Args:
        linear: of any shape.
        view_transform: name of the curve.
    """
    table, first = _display_table(view_transform, linear.device)
    bits = linear.clamp(_LOWEST, _HIGHEST).view(torch.int32) >> _SHIFT
    return table[bits - first]


_DECODE_STEPS = 16  # look-up nodes per 8-bit level


@lru_cache(maxsize=2)
def _decode_table(device: torch.device) -> Tensor:
    levels = np.arange(255 * _DECODE_STEPS + 1) / (255 * _DECODE_STEPS)
    return torch.from_numpy(srgb_decode(levels).astype(np.float32)).to(device)


def texture_colour(batch: MeshBatch, material: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Linear RGB (3, n) at texture coordinates: bilinear, repeating, v upwards; mixed as stored, then decoded.

    Args:
        batch: whose textures.
        material: (n,) material of each point; all have textures.
        u, v: (n,).
    """
    height, width = batch.texture_size[material].unbind(1)
    x, y = _taps(u, width), _taps(1.0 - v, height)
    mixed = u.new_zeros(3, len(u))
    for row, row_weight in zip(y[:2], (1 - y[2], y[2]), strict=True):
        for column, weight in zip(x[:2], (1 - x[2], x[2]), strict=True):
            texel = batch.texels[batch.texture_first[material] + row * width + column]
            channels = torch.stack([(texel >> shift) & 255 for shift in (0, 8, 16)]).float()
            mixed += channels * (weight * row_weight)
    table = _decode_table(u.device)
    return table[(mixed * _DECODE_STEPS + 0.5).long().clamp(0, len(table) - 1)]


def _taps(coordinate: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two texel indices around a coordinate in turns and the weight of the second."""
    # Coordinates without a fraction, such as infinity, take the first texel: an index out of range ends a CUDA context.
    fraction = (coordinate - coordinate.floor()).nan_to_num(0.0, 0.0, 0.0)
    position = fraction * size - 0.5
    low = position.floor()
    index = low.long()
    return torch.where(index < 0, size - 1, index), torch.where(index + 1 >= size, 0, index + 1), position - low
