"""Saccades: where patches come from, what inhibits a return, and the saliency maps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from equissl.datasets.images.sequences import (
    CentreBias,
    Precomputed,
    SaccadeSequences,
    SpectralResidual,
    Uniform,
)
from equissl.datasets.images.sequences.saccades import cut_patches, fixate
from equissl.datasets.images.sequences.saliency import get_saliency
from equissl.datasets.images.sources import StoredImages


def source(images: Tensor) -> StoredImages:
    return StoredImages(images, torch.zeros(len(images), dtype=torch.int64), ("a",), Path("pictures"))


def noise(number: int = 4, height: int = 96, width: int = 96) -> Tensor:
    return torch.randint(
        0, 256, (number, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_patch_shows_what_is_at_its_row_and_column() -> None:
    image = torch.zeros(1, 3, 96, 120, dtype=torch.uint8)
    image[0, :, 21, 70] = 255
    patches = cut_patches(image, torch.tensor([[[21, 70], [70, 21], [30, 65]]]), 32)[0]
    assert patches[0].nonzero().tolist() == [[c, 16, 16] for c in range(3)]
    assert patches[1].sum() == 0  # rows are not columns
    assert patches[2].nonzero().tolist() == [[c, 7, 21] for c in range(3)]


def test_patches_are_plain_slices_and_black_outside() -> None:
    images = noise(2)
    inner = cut_patches(images, torch.tensor([[[40, 60]], [[16, 80]]]), 32)
    assert torch.equal(inner[0, 0], images[0, :, 24:56, 44:76]) and torch.equal(inner[1, 0], images[1, :, :32, 64:])
    corner = cut_patches(images, torch.tensor([[[0, 0]], [[95, 95]]]), 32)
    assert torch.equal(corner[0, 0, :, 16:, 16:], images[0, :, :16, :16]) and corner[0, 0, :, :16].sum() == 0
    assert torch.equal(corner[1, 0, :, :17, :17], images[1, :, 79:, 79:]) and corner[1, 0, :, 17:].sum() == 0
    assert cut_patches(images, torch.tensor([[[40, 60]], [[16, 80]]]), 31).shape == (2, 1, 3, 31, 31)


def test_fixations_follow_the_map() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(8, 9, generator=generator, dtype=torch.float64)
    weights[2] = 0
    chances = torch.rand(50_000, 1, generator=generator, dtype=torch.float64)
    places = fixate(weights.expand(50_000, 8, 9), chances, inhibition=0)[:, 0]
    counts = torch.zeros(8, 9, dtype=torch.float64).index_put_(
        tuple(places.T), torch.ones(50_000).double(), accumulate=True
    )
    torch.testing.assert_close(counts / 50_000, weights / weights.sum(), atol=0.004, rtol=0)
    assert counts[2].sum() == 0


@pytest.mark.parametrize(("shape", "pixels"), [("disc", 797), ("square", 1089)])
def test_inhibition_of_return(shape: str, pixels: int) -> None:
    maps = torch.full((64, 96, 96), 1.0, dtype=torch.float64)
    chances = torch.rand(64, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = fixate(maps, chances, 16, shape).double()
    apart = (places[:, :, None] - places[:, None]).abs()
    distance = apart.norm(dim=-1) if shape == "disc" else apart.amax(-1)
    assert (distance + 99 * torch.eye(6) > 16).all()
    free = fixate(maps, chances, 0).double()
    assert ((free[:, :, None] - free[:, None]).norm(dim=-1) + 99 * torch.eye(6) <= 16).any()
    # the second fixation has all but one place to go to: the forbidden pixels of the first are those of the shape
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    down, across = (rows - 48).double(), (columns - 48).double()
    near = (down.square() + across.square()).sqrt() if shape == "disc" else torch.maximum(down.abs(), across.abs())
    forbidden = near <= 16
    assert forbidden.sum() == pixels
    start = torch.zeros(1, 96, 96, dtype=torch.float64)
    start[0, 48, 48], start[0][forbidden] = 1e9, 1e9
    left = start.clone()
    left[0, 5, 5] = 1e-3
    first = torch.searchsorted(left.flatten().cumsum(0) / left.sum(), torch.tensor(0.0).double(), right=True)
    assert first >= 0
    both = fixate(left, torch.tensor([[0.5, 0.5]], dtype=torch.float64), 200 if shape == "disc" else 96, shape)
    assert both.shape == (1, 2, 2)  # where everything is forbidden there still is a fixation


def test_saccades_are_differences_of_positions_and_uniform_inhibits_too() -> None:
    data = SaccadeSequences(source(noise(40)), views=5, saliency="uniform", seed=3)
    batch = data.__getitems__([(0, i) for i in range(40)])
    assert batch.images.shape == (40, 5, 3, 32, 32) and batch.schema.names == ("position_row", "position_column")
    places = (batch.latents.double() * 96).round().long()
    assert torch.equal(batch.images, cut_patches(data.store.images, places, 32))
    apart = (places[:, :, None] - places[:, None]).double().norm(dim=-1) + 99 * torch.eye(5)
    assert (apart > 16).all()
    alone = data[(0, 7)]
    assert torch.equal(alone.images[0], batch.images[7])
    assert not torch.equal(data[(1, 7)].latents, alone.latents)


def test_inside_keeps_patches_whole() -> None:
    white = torch.full((30, 3, 64, 48), 255, dtype=torch.uint8)
    inside = SaccadeSequences(source(white), views=3, saliency="uniform", inhibition=4, border="inside")
    assert (inside.__getitems__([(0, i) for i in range(30)]).images == 255).all()
    over = SaccadeSequences(source(white), views=3, saliency="uniform", inhibition=4)
    assert (over.__getitems__([(0, i) for i in range(30)]).images == 0).any()
    with pytest.raises(ValueError, match="inside images of 64 x 48, got 50"):
        SaccadeSequences(source(white), patch=50, border="inside")
    with pytest.raises(ValueError, match="got 'disk'"):
        SaccadeSequences(source(white), inhibited="disk")


@pytest.mark.parametrize("saliency", [Uniform(), CentreBias(), SpectralResidual(), SpectralResidual(centre=None)])
def test_maps_are_probabilities(saliency) -> None:
    maps = saliency(noise(3, 96, 80), np.arange(3))
    assert maps.shape == (3, 96, 80) and maps.dtype == torch.float64 and maps.min() >= 0
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3, dtype=torch.float64))


def test_centre_bias_is_a_gaussian() -> None:
    maps = CentreBias(0.25)(noise(1, 101, 201), np.arange(1))[0]
    assert maps.argmax() == 50 * 201 + 100
    sigma = 0.25 * 101
    assert float(maps[50 + 25, 100] / maps[50, 100]) == pytest.approx(math.exp(-0.5 * (25 / sigma) ** 2), rel=1e-6)


def test_spectral_residual_finds_the_odd_one_out() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 100 + 5 * torch.rand(96, 96, generator=generator)
    image[60:70, 20:30] += 80
    maps = SpectralResidual(centre=None)(image.expand(1, 3, 96, 96).to(torch.uint8), np.arange(1))[0]
    inside = maps[55:75, 15:35].sum()
    assert inside > 4 * (20 * 20) / (96 * 96)  # of the area's share


def test_precomputed_maps_by_index(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((5, 24, 24)).astype(np.float32)
    np.save(tmp_path / "maps.npy", maps)
    provider = get_saliency(str(tmp_path / "maps.npy"))
    assert isinstance(provider, Precomputed)
    found = provider(noise(2, 24, 24), np.array([4, 1]))
    expected = torch.from_numpy(maps[[4, 1]]).double()
    torch.testing.assert_close(found, expected / expected.sum((1, 2), keepdim=True))
    assert provider(noise(2), np.array([0, 1])).shape == (2, 96, 96)
    with pytest.raises(ValueError, match="expected a map for image 5, found 5 maps"):
        provider(noise(1, 24, 24), np.array([5]))
    np.save(tmp_path / "bad.npy", -maps)
    with pytest.raises(ValueError, match="values from 0 on"):
        Precomputed(tmp_path / "bad.npy")(noise(1, 24, 24), np.array([0]))
    np.save(tmp_path / "flat.npy", maps[0])
    with pytest.raises(ValueError, match=r"found shape \(24, 24\)"):
        Precomputed(tmp_path / "flat.npy")
    with pytest.raises(ValueError, match="unknown saliency 'deepgaze'"):
        get_saliency("deepgaze")
