"""Image files to pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

_FAST = (".jpg", ".jpeg", ".png", ".webp")  # torchvision decodes these, faster than Pillow
SUFFIXES = (*_FAST, ".bmp", ".pgm", ".ppm", ".tif", ".tiff")


def decode_file(file: Path) -> Tensor:
    """The RGB image of a file, upright as its EXIF orientation says.

    Returns:
        (3, H, W) uint8.

    Raises:
        OSError, RuntimeError, ValueError, SyntaxError: not an image, or a damaged one.
    """
    return decode_image_bytes(file.read_bytes(), file.suffix)


def decode_image_bytes(data: bytes, suffix: str) -> Tensor:
    """The RGB image of a file's bytes, upright as its EXIF orientation says.

    Args:
        data: the bytes.
        suffix: of the file's name: ``.jpg``.

    Returns:
        (3, H, W) uint8.

    Raises:
        OSError, RuntimeError, ValueError, SyntaxError: not an image, or a damaged one.
    """
    if suffix.lower() not in _FAST:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        return torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    image = decode_image(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
    return image if image.dtype == torch.uint8 else (image.to(torch.int32) // 257).to(torch.uint8)  # of 16 bits
