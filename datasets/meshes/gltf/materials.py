"""Materials of a glTF file, and what their opacity hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from equissl.datasets.meshes.gltf.checks import GLOSSINESS, UNLIT
from equissl.datasets.meshes.gltf.document import Document
from equissl.datasets.meshes.gltf.textures import Texture, read_texture
from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.textures import tint

#: Specular strength 1 is a reflectance of 0.08; glTF's own is 0.04.
_REFLECTANCE = 0.08


@dataclass(frozen=True, eq=False)
class Look:
    """Material of a glTF file.

    Attributes:
        material: as a mesh has it, opaque. Its ``diffuse`` and ``texture`` are to be multiplied by vertex colours.
        texture: where the material's lies, or None.
        opacity: factor of the opacity.
        mode: ``OPAQUE``, ``MASK`` or ``BLEND``.
        cutoff: least opacity of what ``MASK`` shows.
        warnings: as a mesh's.
    """

    material: Material
    texture: Texture | None = None
    opacity: float = 1.0
    mode: str = "OPAQUE"
    cutoff: float = 0.5
    warnings: tuple[str, ...] = ()


def read_look(document: Document, index: int | None) -> Look:
    """Decode a material, or the standard's default (white) for None.

    The base colour is the factor, which is linear, times the texture, which is sRGB. Of
    ``KHR_materials_pbrSpecularGlossiness`` the diffuse part takes its place.

    Args:
        document: the file.
        index: number of the material.
    """
    if index is None:
        return Look(Material(diffuse=np.ones(3, np.float32), specular=0.5, roughness=1.0))
    data = document.item("materials", index)
    glossy = (data.get("extensions") or {}).get(GLOSSINESS)
    metallic = data.get("pbrMetallicRoughness") or {}
    if glossy is None:
        factor, reference = metallic.get("baseColorFactor"), metallic.get("baseColorTexture")
        specular, roughness = 0.5, metallic.get("roughnessFactor", 1.0)
    else:
        factor, reference = glossy.get("diffuseFactor"), glossy.get("diffuseTexture")
        specular = float(np.mean(glossy.get("specularFactor", 1.0))) / _REFLECTANCE
        roughness = 1.0 - glossy.get("glossinessFactor", 1.0)
    mode, warnings = str(data.get("alphaMode", "OPAQUE")), _unused(data)
    colour = np.ones(4) if factor is None else np.asarray(factor, np.float64)
    texture = None
    if reference is not None:
        texture = read_texture(document, reference, warnings, opacity=mode != "OPAQUE")
    material = Material(
        diffuse=colour[:3].clip(0, 1).astype(np.float32),
        texture=None if texture is None else tint(texture.pixels, colour[:3]),
        specular=float(np.clip(specular, 0, 1)),
        roughness=float(np.clip(roughness, 0, 1)),
        name=str(data.get("name") or ""),
    )
    cutoff = float(data.get("alphaCutoff", 0.5))
    return Look(material, texture, float(np.clip(colour[3], 0, 1)), mode, cutoff, tuple(warnings))


def _unused(data: dict[str, Any]) -> list[str]:
    """Warnings on the parts of a material that are not used."""
    metallic, extensions = data.get("pbrMetallicRoughness") or {}, data.get("extensions") or {}
    parts = {
        "metallic part": metallic.get("metallicFactor", 1.0) > 0 and not {GLOSSINESS, UNLIT} & extensions.keys(),
        "metallic and roughness texture": "metallicRoughnessTexture" in metallic,
        "specular texture": "specularGlossinessTexture" in extensions.get(GLOSSINESS, {}),
        "normal map": "normalTexture" in data,
        "emission": any(data.get("emissiveFactor") or ()),
    }
    return [f"the {part} of a material is not used" for part, present in parts.items() if present]


def show(look: Look, uv: np.ndarray | None, alpha: np.ndarray | None) -> tuple[np.ndarray | None, float, bool]:
    """Decide what the opacity of a material does to M faces, by samples at their corners and centre.

    Of ``MASK``, faces wholly below the cutoff are cut out. Of ``BLEND``, those without any opacity are, and the others
    share their mean.

    Args:
        look: the material.
        uv: (M, 3, 2) coordinates of the corners, v upwards, where it has a texture.
        alpha: (M, 3) opacity of the corners' colours, or None.

    Returns:
        The faces left (M,) bool or None for all, their opacity, and True where the samples differ.
    """
    if look.mode == "OPAQUE":
        return None, 1.0, False
    samples = np.full((1, 4), look.opacity)
    if look.texture is not None and look.texture.opacity is not None and uv is not None:
        samples = samples * _sample(look.texture.opacity, _with_centre(uv))
    if alpha is not None:
        samples = samples * _with_centre(alpha)
    shown = (samples >= look.cutoff if look.mode == "MASK" else samples > 0).any(axis=1)
    mean = 1.0 if look.mode == "MASK" or not shown.any() else float(samples[shown].mean())
    left = None if bool(shown.all()) else np.asarray(shown)
    return left, mean, bool(np.ptp(samples) > 0)


def _with_centre(corners: np.ndarray) -> np.ndarray:
    """Values (M, 3, ...) at the corners and, the fourth, at the centre."""
    return np.concatenate([corners, corners.mean(axis=1, keepdims=True)], axis=1)


def _sample(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Nearest values of a repeated texture (H, W) at coordinates (..., 2), v upwards."""
    height, width = texture.shape
    u, v = (np.mod(uv[..., i].astype(np.float64), 1.0) for i in (0, 1))
    column = np.minimum((u * width).astype(int), width - 1)
    row = np.minimum(((1 - v) * height).astype(int), height - 1)
    return texture[row, column]
