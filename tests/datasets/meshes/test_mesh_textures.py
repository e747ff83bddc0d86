"""Textures of every mode of Pillow and of TIFF; what colours they show is known in closed form."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from equissl.datasets.meshes.textures import decode_texture, to_rgb

COLOUR = (200, 100, 50)
GREY = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)  # ITU-R 601 luma, Pillow's L


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def tiff(pixels: np.ndarray, **options: str) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("RGB", COLOUR),
        ("RGBA", COLOUR),
        ("RGBX", COLOUR),
        ("RGBa", COLOUR),
        ("CMYK", COLOUR),
        ("YCbCr", COLOUR),
        ("HSV", COLOUR),
        ("L", (GREY,) * 3),
        ("LA", (GREY,) * 3),
        ("La", (GREY,) * 3),
    ],
)
def test_modes_show_their_colour(mode: str, expected: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (3, 2), COLOUR)
    image = image.convert("LA" if mode == "La" else "RGBA" if mode == "RGBa" else mode).convert(mode)
    np.testing.assert_allclose(np.asarray(to_rgb(image))[0, 0], expected, atol=1)


def test_every_mode_of_pillow_is_converted() -> None:
    for mode in Image.MODES:
        assert np.asarray(to_rgb(Image.new(mode, (3, 2)))).shape == (2, 3, 3), mode


def test_a_lab_image_shows_the_colour() -> None:
    """CIE L*a*b* (54.0, 37.2, 45.4), D50, is sRGB (200, 100, 50); bytes are L * 255 / 100 and signed a, b."""
    image = Image.frombytes("LAB", (1, 1), bytes([138, 37, 45]))
    np.testing.assert_allclose(np.asarray(to_rgb(image))[0, 0], COLOUR, atol=4)


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("mode", ["P", "PA"])
def test_a_palette_keeps_its_colours(mode: str, transparent: bool) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*COLOUR, 10, 20, 30])
    image.putpixel((1, 0), 1)
    image = image.convert(mode)
    if transparent and mode == "P":
        image = Image.open(io.BytesIO(_transparent(image)))
    assert np.asarray(to_rgb(image))[0].tolist() == [list(COLOUR), [10, 20, 30]]


def _transparent(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=bytes([0, 255]))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(kind: str) -> None:
    image = Image.fromarray(np.array([[0, 20000, 65535]], np.uint16))
    expected = [0, 78, 255]  # 20000 / 65535 * 255 = 77.8
    assert decode_texture(encoded(image, kind))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 5), 0.25, np.float32), 64),
        (np.full((4, 5), 0.25, np.float64), 64),
        (np.full((4, 5, 3), 0.25, np.float32), 64),
        (np.full((4, 5, 3), 0.25, np.float16), 64),
        (np.full((4, 5, 4), 0.25, np.float32), 64),
        (np.full((4, 5, 3), 20000, np.uint16), 78),
        (np.full((4, 5), 1 << 31, np.uint32), 128),
        (np.array([[np.nan, np.inf, -1, 3.0, 0.5]] * 4, np.float32), [0, 255, 0, 255, 128]),
    ],
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_values_are_scaled_as_blender_does(pixels: np.ndarray, expected: int | list[int], byteorder: str) -> None:
    colour = {"photometric": "rgb"} if pixels.ndim == 3 else {}
    texture = decode_texture(tiff(pixels, byteorder=byteorder, **colour))
    assert texture.shape == (4, 5, 3)
    assert texture[0].tolist() == np.repeat(np.broadcast_to(expected, 5)[:, None], 3, axis=1).tolist()


def test_tiff_planes_and_pages() -> None:
    planes = np.stack([np.full((4, 5), value, np.float32) for value in (1.0, 0.5, 0.0)])
    assert decode_texture(tiff(planes, photometric="rgb", planarconfig="separate"))[0, 0].tolist() == [255, 128, 0]
    pages = np.stack([np.full((4, 5), value, np.float64) for value in (0.5, 1.0)])
    assert decode_texture(tiff(pages, photometric="minisblack")).tolist() == np.full((4, 5, 3), 128).tolist()


@pytest.mark.parametrize("data", [b"", b"no image", b"II*\0", b"MM\0*" + bytes(60)])
def test_what_is_no_image_is_an_error(data: bytes) -> None:
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_texture(data)
