"""Textures of a glTF file: the image, the set of coordinates, their transform and what lies beyond the image's edge."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from equissl.datasets.meshes.gltf.checks import IMAGES, TRANSFORM
from equissl.datasets.meshes.gltf.document import Document
from equissl.datasets.meshes.textures import MAX_TEXTURE, decode_texture

_CLAMP, _MIRROR = 33071, 33648
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Texture:
    """Image of a material, and where it lies on the surface.

    Attributes:
        pixels: uint8 sRGB (H, W, 3), first row at the top. It repeats; a mirrored one holds its mirror images too.
        opacity: (H', W') in [0, 1], or None where it is not asked for.
        uv_set: Number of the set of texture coordinates.
        transform: (2, 3) from those of the file to those of ``pixels``; both count v downwards.
        clamped: (2,) True for axes on which the file extends the image's edge; ``pixels`` repeats there, too.
    """

    pixels: np.ndarray
    opacity: np.ndarray | None
    uv_set: int
    transform: np.ndarray
    clamped: np.ndarray

    def coordinates(self, uv: np.ndarray) -> np.ndarray:
        """Map coordinates (..., 2) of the file to those of a mesh: v upwards; not finite ones become zero."""
        mapped = np.nan_to_num(uv @ self.transform[:, :2].T + self.transform[:, 2], nan=0, posinf=0, neginf=0)
        return np.stack([mapped[..., 0], 1 - mapped[..., 1]], axis=-1).astype(np.float32)

    def repeats_wrongly(self, uv: np.ndarray) -> bool:
        """Return True if coordinates (..., 2) of the mesh leave the image where the file extends its edge."""
        outside = (uv < -1e-3) | (uv > 1 + 1e-3)
        return bool((outside & self.clamped).any())


def read_texture(document: Document, info: dict[str, Any], warnings: list[str], *, opacity: bool) -> Texture | None:
    """Decode the texture that a material refers to; None, with a warning, where there is no image.

    Args:
        document: the file.
        info: the reference: ``index``, ``texCoord``, ``extensions``.
        warnings: grows by one sentence per finding.
        opacity: whether its opacity is asked for.
    """
    texture = document.item("textures", info["index"])
    extension = (info.get("extensions") or {}).get(TRANSFORM) or {}
    pixels = _first_image(document, texture, decode_texture, warnings)
    if pixels is None:
        return None
    sampler = document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
    wrap = np.array([sampler.get("wrapS"), sampler.get("wrapT")])
    mirrored = wrap == _MIRROR
    alpha = _first_image(document, texture, _decode_opacity, []) if opacity else None
    transform = np.diag(np.where(mirrored, 0.5, 1.0)) @ _transform(extension)
    return Texture(
        pixels=_with_mirror_images(pixels, mirrored),
        opacity=None if alpha is None else _with_mirror_images(alpha, mirrored),
        uv_set=extension.get("texCoord", info.get("texCoord", 0)),
        transform=transform,
        clamped=wrap == _CLAMP,
    )


def _first_image(
    document: Document, texture: dict[str, Any], decode: Callable[[bytes], T], warnings: list[str]
) -> T | None:
    """The first of a texture's images that can be decoded."""
    extensions = texture.get("extensions") or {}
    sources = [extensions[name].get("source") for name in IMAGES if name in extensions] + [texture.get("source")]
    problems = []
    for source in sources:
        if source is None:
            continue
        try:
            if (key := (source, decode.__name__)) not in document.images:
                document.images[key] = decode(_image_bytes(document, source))
            found: T = document.images[key]
            return found
        except (OSError, ValueError, SyntaxError) as error:
            problems.append(f"image {source}: {error}")
    unread = ", ".join(sorted(extensions.keys() - set(IMAGES)))
    problem = "; ".join(problems) or (f"its image needs {unread}, which is not supported" if unread else "no image")
    warnings.append(f"a texture cannot be used ({problem}); the material's colour is")
    return None


def _image_bytes(document: Document, index: Any) -> bytes:
    image = document.item("images", index)
    if "bufferView" in image:
        return bytes(document.view(image["bufferView"]))
    data = document.read_uri(image["uri"]) if "uri" in image else None
    if data is None:
        raise ValueError(f"{str(image.get('uri'))[:80]!r} is missing")
    return data


def _decode_opacity(data: bytes) -> np.ndarray:
    """Opacity (H, W) in [0, 1] of an image file, one where it says nothing."""
    with Image.open(io.BytesIO(data)) as image:
        alpha = image.convert("RGBA").getchannel("A")
    alpha.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return np.asarray(alpha, np.uint8) / 255.0


def _transform(extension: dict[str, Any]) -> np.ndarray:
    """Matrix (2, 3) of KHR_texture_transform: scale, then a turn anticlockwise as seen on the image, then offset."""
    turn, offset = float(extension.get("rotation", 0)), extension.get("offset", (0, 0))
    cos, sin = np.cos(turn), np.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag(np.asarray(extension.get("scale", (1, 1)), np.float64))
    return np.column_stack([linear, np.asarray(offset, np.float64)])


def _with_mirror_images(image: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """The image beside its mirror image, (left to right, top to bottom), so that repeating both mirrors it."""
    if mirrored[0]:
        image = np.concatenate([image, image[:, ::-1]], axis=1)
    return np.concatenate([image, image[::-1]], axis=0) if mirrored[1] else image
