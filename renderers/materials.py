"""Albedo look-up: material colours and textures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.util.srgb import srgb_decode

_DECODE_STEPS = 16  # look-up nodes per 8-bit level


@lru_cache(maxsize=1)
def _decode_table() -> np.ndarray:
    return srgb_decode(np.arange(255 * _DECODE_STEPS + 1) / (255 * _DECODE_STEPS)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Textures:
    """All textures of a mesh in one array of texels.

    Attributes:
        texels: (T,) uint32, red in the lowest byte, images one after the other, rows from the top.
        width, height, first: (materials,) int32 size and first texel of each material's image; width 0 means no
            texture.
    """

    texels: np.ndarray
    width: np.ndarray
    height: np.ndarray
    first: np.ndarray


def collect_textures(mesh: Mesh) -> Textures | None:
    """Return the mesh's textures, or None if no face has one."""
    if mesh.corner_uv is None or all(material.texture is None for material in mesh.materials):
        return None
    sizes = [(0, 0) if m.texture is None else m.texture.shape[:2] for m in mesh.materials]
    height, width = np.array(sizes, np.int32).T
    first = np.concatenate([[0], np.cumsum(height.astype(np.int64) * width)[:-1]]).astype(np.int64)
    packed = [_pack(m.texture) for m in mesh.materials if m.texture is not None]
    return Textures(np.concatenate(packed), width, height, first)


def mean_albedo(material: Material) -> np.ndarray:
    """Return the linear RGB (3,) float32 of a material seen from afar."""
    if material.texture is None:
        return np.asarray(material.diffuse, np.float32)
    counts = [np.bincount(material.texture[..., channel].ravel(), minlength=256) for channel in range(3)]
    return (np.stack(counts) @ _decode_table()[::_DECODE_STEPS] / counts[0].sum()).astype(np.float32)


def _pack(texture: np.ndarray) -> np.ndarray:
    channels = texture.reshape(-1, texture.shape[-1]).astype(np.uint32)
    return channels[:, 0] | (channels[:, 1] << 8) | (channels[:, 2] << 16)


def lookup(textures: Textures, material: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    """Look up the linear RGB at texture coordinates: bilinear, repeating, v upwards.

    The four texels are mixed as stored (sRGB) and the result is decoded, which is what Cycles does with 8-bit textures.

    Args:
        material: (n,) material index of each point; all have textures.
        u, v: (n,) float32.

    Returns:
        Red, green and blue, (n,) float32 each.
    """
    width, height, first = textures.width[material], textures.height[material], textures.first[material]
    x0, x1, fx = _taps(u, width)
    y0, y1, fy = _taps(1.0 - v, height)
    row0, row1 = first + y0 * width, first + y1 * width
    corners = [textures.texels.take(index) for index in (row0 + x0, row0 + x1, row1 + x0, row1 + x1)]
    weights = [(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy]
    return tuple(_decode(corners, weights, shift) for shift in (0, 8, 16))


def _taps(coordinate: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two texel indices around a coordinate in turns and the weight of the second."""
    # Wrap before scaling: large coordinates would lose their fraction in float32.
    position = (coordinate - np.floor(coordinate)) * size.astype(np.float32) - np.float32(0.5)
    low = np.floor(position)
    fraction = position - low
    index = low.astype(np.int32)
    second = index + 1
    return np.where(index < 0, size - 1, index), np.where(second >= size, 0, second), fraction


def _decode(corners: list[np.ndarray], weights: list[np.ndarray], shift: int) -> np.ndarray:
    mixed = sum(((c >> shift) & 255).astype(np.float32) * w for c, w in zip(corners, weights, strict=True))
    return _decode_table().take((mixed * _DECODE_STEPS + 0.5).astype(np.int32), mode="clip")
