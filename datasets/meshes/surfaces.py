"""Materials, textures and colours of the geometries that trimesh decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.textures import MAX_TEXTURE
from equissl.util.srgb import srgb_decode, srgb_encode


@dataclass(frozen=True, eq=False)
class Surface:
    """Material of M faces.

    Attributes:
        uv: (M, 3, 2) texture coordinates of the corners, or None.
        material: of all of them.
        warnings: as a mesh's.
    """

    uv: np.ndarray | None
    material: Material
    warnings: tuple[str, ...] = ()


def read_surface(part: Any, faces: np.ndarray) -> Surface:
    """Read texture, colours or plain grey of a trimesh geometry.

    Args:
        part: the geometry.
        faces: (M, 3) triangles.
    """
    visual = part.visual
    if visual.kind in ("vertex", "face"):
        return _colour_texture(np.asarray(visual.face_colors)[:, :3])
    if visual.kind != "texture" or getattr(visual, "material", None) is None:
        return Surface(None, Material())
    source = visual.material
    if hasattr(source, "to_pbr") and not hasattr(source, "baseColorFactor"):
        source = source.to_pbr()
    material, warnings = _pbr(source)
    if material.texture is None:
        return Surface(None, material, warnings)
    if visual.uv is None or len(visual.uv) != len(part.vertices):
        uv = np.zeros((len(faces), 3, 2), np.float32)
        return Surface(uv, material, (*warnings, "a texture has no coordinates"))
    uv = np.asarray(visual.uv, np.float32)[faces]
    uv[~np.isfinite(uv)] = 0
    return Surface(uv, material, warnings)


def _colour_texture(colours: np.ndarray) -> Surface:
    """Colours per face (M, 3) uint8 sRGB as one texture, a texel per colour: corners sit on the texel's centre."""
    palette, index = np.unique(colours.astype(np.uint8), axis=0, return_inverse=True)
    side = int(np.ceil(np.sqrt(len(palette))))
    texture = np.zeros((side * side, 3), np.uint8)
    texture[: len(palette)] = palette
    row, column = np.divmod(index.reshape(-1), side)
    uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], axis=1).astype(np.float32)
    return Surface(np.repeat(uv[:, None], 3, axis=1), Material(texture=texture.reshape(side, side, 3)))


def _pbr(source: Any) -> tuple[Material, tuple[str, ...]]:
    """A material as trimesh has it. Base colour factors are linear, textures sRGB."""
    factor = getattr(source, "baseColorFactor", None)
    factor = np.ones(4) if factor is None else np.asarray(factor, np.float64)
    if factor.max() > 1:
        factor = factor / 255.0  # trimesh keeps factors as uint8
    roughness = getattr(source, "roughnessFactor", None)
    image, texture = getattr(source, "baseColorTexture", None), None
    warnings: tuple[str, ...] = ()
    if image is not None:
        texture = tint(_shrunk(image.convert("RGB")), factor[:3])
    material = Material(
        diffuse=factor[:3].clip(0, 1).astype(np.float32),
        texture=texture,
        specular=0.5,  # glTF's fixed reflectance of 0.04 is 0.08 times this
        roughness=float(np.clip(1.0 if roughness is None else roughness, 0, 1)),
        name=str(getattr(source, "name", None) or ""),
    )
    return material, warnings


def _shrunk(image: Image.Image) -> np.ndarray:
    image.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)


def tint(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply a texture by a colour.

    Args:
        texture: uint8 sRGB (H, W, 3).
        factor: (3,) linear.
    """
    if np.allclose(factor, 1, atol=1 / 255):
        return texture
    return (srgb_encode(srgb_decode(texture / 255.0) * factor) * 255 + 0.5).astype(np.uint8)
