"""Image files as textures: every mode of Pillow, and the TIFF files that it refuses, as 8-bit sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from equissl.util.srgb import srgb_decode, srgb_encode

MAX_TEXTURE = 512
_MAX_VALUES = 500_000_000
_TIFF = (b"II*\0", b"MM\0*")
#: Modes that lose colours on the direct way to RGB, or have none.
_OVER = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}


def decode_texture(data: bytes, max_size: int = MAX_TEXTURE) -> np.ndarray:
    """Decode an image file to uint8 sRGB (H, W, 3), shrunk so that its longer side is at most ``max_size``.

    Args:
        data: the file's bytes.
        max_size: longer side in pixels.

    Raises:
        OSError, ValueError, SyntaxError: From Pillow for bytes that are no image, or a promise of far too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            # JPEG can decode at 1/2, 1/4 or 1/8 size directly
            image.draft("RGB", (max_size, max_size))
            rgb = to_rgb(image)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except UnidentifiedImageError:
        if data[:4] not in _TIFF:
            raise
        rgb = _read_tiff(data)
    if max(rgb.size) > max_size:
        rgb.thumbnail((max_size, max_size), Image.Resampling.LANCZOS)
    return np.asarray(rgb, dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit sRGB; opacity is dropped.

    Pillow clips what has more than 8 bits. Here integers are scaled to their range, and floating-point values are sRGB
    in [0, 1], as Blender takes them.

    Raises:
        OSError, ValueError: From Pillow for damaged pixels.
    """
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), 65535)
    if image.mode == "I":
        values = np.asarray(image).view(np.uint32)
        # 16-bit PGM and TIFF files come in this mode too
        return _scaled(values, 65535 if values.max(initial=0) <= 65535 else 2**32 - 1)
    if image.mode == "F":
        return _scaled(np.asarray(image), 1)
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert(_OVER.get(image.mode, "RGB")).convert("RGB")


def _scaled(values: np.ndarray, full: float) -> Image.Image:
    """Image of values (H, W) or (H, W, C) from 0 to ``full``; what is not a number is black."""
    share = np.nan_to_num(values.astype(np.float64) / full, nan=0.0).clip(0, 1)
    return Image.fromarray((share * 255).round().astype(np.uint8)).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None  # None only where it works in place
    return converted


def _read_tiff(data: bytes) -> Image.Image:
    """First page of a TIFF with channels of 16, 32 or 64 bits, floating-point ones among them."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0].aspage()
            if page.size > _MAX_VALUES:
                raise ValueError(f"{page.size} values, more than the limit of {_MAX_VALUES}")
            values = page.asarray()
            values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
    except Exception as error:  # damaged bytes leave it as almost any exception
        raise ValueError(f"no readable TIFF image: {error}") from error
    if values.ndim not in (2, 3):
        raise ValueError(f"expected TIFF axes YX or YXS, got {page.axes}")
    if values.ndim == 3:
        values = values[..., :3] if values.shape[-1] > 2 else values[..., 0]
    return _scaled(values, np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1)


def tint(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply a texture by a colour.

    Args:
        texture: uint8 sRGB (H, W, 3).
        factor: (3,) linear.
    """
    if np.allclose(factor, 1, atol=1 / 255):
        return texture
    return (srgb_encode(srgb_decode(texture / 255.0) * factor) * 255 + 0.5).astype(np.uint8)
