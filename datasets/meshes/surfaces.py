"""Materials, textures and colours of the geometries that trimesh decodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.textures import MAX_TEXTURE


@dataclass(frozen=True, eq=False)
class Surface:
    """Material of M faces.

    Attributes:
        uv: (M, 3, 2) texture coordinates of the corners, or None.
        material: of all of them.
        visible: (M,) faces that are not wholly cut out by the texture's opacity; None for all.
        warnings: as a mesh's.
    """

    uv: np.ndarray | None
    material: Material
    warnings: tuple[str, ...] = ()
    visible: np.ndarray | None = None


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
    return _cut_out(Surface(uv, material, warnings), source)


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
    """A glTF metallic-roughness material. Base colour factors are linear, textures sRGB.

    The factor's alpha counts for ``BLEND`` alone, and ``MASK`` hides what is below the cutoff, as glTF 2.0 says.
    """
    factor = getattr(source, "baseColorFactor", None)
    factor = np.ones(4) if factor is None else np.asarray(factor, np.float64)
    if factor.max() > 1:
        factor = factor / 255.0  # trimesh keeps factors as uint8
    roughness = getattr(source, "roughnessFactor", None)
    image, texture = getattr(source, "baseColorTexture", None), None
    warnings: tuple[str, ...] = ()
    if image is not None:
        texture = _shrunk(image.convert("RGB"))
        if not np.allclose(factor[:3], 1, atol=1 / 255):
            texture = _tint(texture, factor[:3])
    if getattr(source, "metallicFactor", None):
        warnings = ("the metallic part of a material is not used",)
    material = Material(
        diffuse=factor[:3].clip(0, 1).astype(np.float32),
        texture=texture,
        specular=0.5,  # glTF's fixed reflectance of 0.04 is 0.08 times this
        roughness=float(np.clip(1.0 if roughness is None else roughness, 0, 1)),
        alpha=float(np.clip(_opacity(source, factor), 0, 1)),
        name=str(getattr(source, "name", None) or ""),
    )
    return material, warnings


def _opacity(source: Any, factor: np.ndarray) -> float:
    return float(factor[3]) if len(factor) > 3 and _mode(source) == "BLEND" else 1.0


def _mode(source: Any) -> str:
    return str(getattr(source, "alphaMode", None) or "OPAQUE")


def _cut_out(surface: Surface, source: Any) -> Surface:
    """Apply the opacity of a texture, by faces: those transparent at their corners and centre are cut out.

    Of ``BLEND``, the faces left share the mean opacity of their samples.
    """
    image = getattr(source, "baseColorTexture", None)
    if surface.uv is None or image is None or _mode(source) == "OPAQUE":
        return surface
    opacity = _shrunk(image.convert("RGBA"))[..., 3] / 255.0
    if opacity.min() == 1:
        return surface
    samples = _sample(opacity, np.concatenate([surface.uv, surface.uv.mean(axis=1, keepdims=True)], axis=1))
    cutoff = getattr(source, "alphaCutoff", None)
    masked = _mode(source) == "MASK"
    visible = np.any(samples >= (0.5 if cutoff is None else cutoff) if masked else samples > 0, axis=1)
    mean = 1.0 if masked or not visible.any() else float(samples[visible].mean())
    material = replace(surface.material, alpha=surface.material.alpha * mean)
    warning = "the opacity of a texture is applied by faces, not by pixels"
    return Surface(surface.uv, material, (*surface.warnings, warning), visible)


def _sample(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Nearest values of a repeated texture (H, W) at coordinates (..., 2), v upwards."""
    height, width = texture.shape
    u, v = (np.mod(uv[..., i].astype(np.float64), 1.0) for i in (0, 1))
    column = np.minimum((u * width).astype(int), width - 1)
    row = np.minimum(((1 - v) * height).astype(int), height - 1)
    return texture[row, column]


def _shrunk(image: Image.Image) -> np.ndarray:
    image.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)


def _tint(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply an sRGB texture by a linear factor."""
    encoded = texture / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) * factor
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded.clip(0, 1) * 255 + 0.5).astype(np.uint8)
