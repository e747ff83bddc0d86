"""Texture look-up against SciPy's interpolation."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers.materials import collect_textures, lookup
from equissl.util.srgb import srgb_decode


def _mesh(*textures: np.ndarray | None) -> Mesh:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    materials = tuple(Material(texture=texture) for texture in textures)
    return Mesh(
        corners,
        np.array([[0, 1, 2]], np.int32),
        np.zeros(1, np.int32),
        np.zeros((1, 3, 2), np.float32),
        None,
        materials,
    )


def test_bilinear_repeating_with_v_upwards() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.integers(0, 256, (8, 3, 3), dtype=np.uint8)]
    textures = collect_textures(_mesh(images[0], None, images[1]))
    material = rng.choice([0, 2], 500)
    u, v = rng.uniform(-3, 3, (2, 500)).astype(np.float32)
    got = np.stack(lookup(textures, material, u, v), 1)
    for index, image in ((0, images[0]), (2, images[1])):
        chosen = material == index
        # the first row is the top, v = 1; texel centres are at half numbers
        row = (1 - v[chosen].astype(float)) * image.shape[0] - 0.5
        column = u[chosen].astype(float) * image.shape[1] - 0.5
        for channel in range(3):
            mixed = map_coordinates(image[..., channel].astype(float), [row, column], order=1, mode="grid-wrap")
            np.testing.assert_allclose(got[chosen, channel], srgb_decode(mixed / 255), atol=1.5e-3)


def test_texel_centres_give_the_stored_colours() -> None:
    image = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    textures = collect_textures(_mesh(image))
    row, column = np.divmod(np.arange(16), 4)
    u, v = ((column + 0.5) / 4).astype(np.float32), (1 - (row + 0.5) / 4).astype(np.float32)
    got = np.stack(lookup(textures, np.zeros(16, int), u, v), 1)
    np.testing.assert_allclose(got, srgb_decode(image.reshape(16, 3) / 255), atol=1e-6)


def test_no_textures() -> None:
    assert collect_textures(_mesh(None)) is None
