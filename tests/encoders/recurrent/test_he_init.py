"""Initial weights of steerable convolutions against those of escnn 1.0.11, measured there, and unit variance."""

from __future__ import annotations

import pytest
import torch

from equissl.encoders.recurrent import LiftConv, ProjectConv, RegularConv, steerable_basis
from equissl.encoders.recurrent.he_init import variance

# N · N · (mean of |DFT over orientations|²) of the coefficients of escnn's R2Conv between regular fields, kernel 3: of
# the centre, and of the ring's harmonics 1 and 2 as complex amplitudes of functions with peak profile 1.
CENTRE = {
    8: [0.1667, 0.0833, 0.1, 0.0833, 0.1667, 0.0833, 0.1, 0.0833],
    36: [0.1667, 0.0833, *[0.1] * 15, 0.0833, 0.1667, 0.0833, *[0.1] * 15, 0.0833],
}
FIRST = {
    8: [0.1863, 0.149, 0.1863, 0.1242, 0.1863, 0.149, 0.1863, 0.1242],
    36: [0.1863, *[0.149] * 15, 0.1863, 0.1242, 0.1863, *[0.149] * 15, 0.1863, 0.1242],
}
SECOND = {
    8: [0.149, 0.1863, 0.1242, 0.0621, 0.149, 0.1863, 0.1242, 0.0621],
    36: [*[0.149] * 15, 0.1863, 0.1242, 0.0621, *[0.149] * 15, 0.1863, 0.1242, 0.0621],
}
NORMS = (1.0, 2.31749, 1.63842, 1.63842, 2.0, 1.169974)  # of escnn's functions with peak profile 1 on 3 x 3 pixels


@pytest.mark.parametrize("order", [8, 36])
def test_variances_are_those_of_escnn(order: int) -> None:
    every = range(order)
    norm = (2.0**2 + 1.169974**2) / 2  # ‖cos‖² and ‖sin‖² on average, the same for both harmonics
    assert [variance(order, every, m, 0) for m in every] == pytest.approx(CENTRE[order], abs=1e-4)
    for f, table in ((1, FIRST), (2, SECOND)):
        expected = [value * norm / 2 for value in table[order]]
        assert [variance(order, every, m, f) for m in every] == pytest.approx(expected, abs=2e-4)


def test_drawn_weights_have_them() -> None:
    torch.manual_seed(0)
    order, fields = 8, 3
    weight = RegularConv(fields, 8000, order, ring_width=0.4).weight.detach().double() / torch.tensor(NORMS).double()
    spectrum = torch.fft.fft(weight, dim=2).abs().square().mean(dim=(0, 1)) * fields
    torch.testing.assert_close(spectrum[:, 0], torch.tensor(CENTRE[order]).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(spectrum[:, 1], torch.tensor(CENTRE[order]).double() / NORMS[1] ** 2, rtol=0.05, atol=0)
    for table, cosine in ((FIRST, 2), (SECOND, 4)):
        wave = torch.complex(weight[..., cosine], -weight[..., cosine + 1])
        found = torch.fft.fft(wave, dim=2).abs().square().mean(dim=(0, 1)) * fields
        torch.testing.assert_close(found, torch.tensor(table[order]).double(), rtol=0.05, atol=0)


def test_lifted_kernels_have_escnn_s_variances() -> None:
    """Of every pixel over 7,200 kernels of C_36: corners 0.0079, edges 0.023, centre 0.0137."""
    torch.manual_seed(0)
    pixels = LiftConv(1, 2000, 36, ring_width=0.4).kernel().detach().square().mean(dim=(0, 1))
    expected = torch.tensor([[0.0079, 0.023, 0.0079], [0.023, 0.0138, 0.023], [0.0079, 0.023, 0.0079]])
    torch.testing.assert_close(pixels, expected, rtol=0.05, atol=0)


@pytest.mark.parametrize("width", [0.4, 0.6])
@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_variance_is_kept_from_irreps_to_irreps(width: float, order: int) -> None:
    """The sum over in-frequencies and harmonics is dim(l) for every output irrep: He's condition."""
    every = range(order)
    for out in every:
        reaching = {(m, f) for m in every for f in (-2, -1, 0, 1, 2) if (m + f) % order == out}
        total = sum((2 if f == 0 else 1) * variance(order, every, m, f) for m, f in reaching)
        dimension = 1 if 2 * out % order == 0 else 2
        copies = 1 if dimension == 1 else 2  # −out is the same irrep
        assert total * copies == pytest.approx(dimension, rel=1e-9)
    for layer in (LiftConv(2, 3, order, width), RegularConv(2, 3, order, width), ProjectConv(2, 3, order, width)):
        assert bool(layer.weight.isfinite().all()) and layer.weight.dtype == torch.get_default_dtype()


def test_ring_of_escnn() -> None:
    """escnn's ring on 3 x 3 pixels, at any scale: 0.0095 in the centre, 0.2158 on edges, 0.1262 in corners."""
    ring = steerable_basis(ring_width=0.4)[1]
    expected = torch.tensor([[0.1262, 0.2158, 0.1262], [0.2158, 0.0095, 0.2158], [0.1262, 0.2158, 0.1262]]).double()
    torch.testing.assert_close(ring, expected / expected.norm(), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="ring_width above 0"):
        LiftConv(1, 1, 4, 0.0)
