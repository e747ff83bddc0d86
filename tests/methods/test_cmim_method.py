"""cMIM, MIM and VAE: what tells them apart, their parts, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.encoders.conv_decoder import ConvDecoder
from equissl.losses import a_mim, cmim, gaussian_log_density, negative_elbo
from equissl.methods import CMIM
from equissl.methods.views.cmim import MIN_LOG_STD, draw

SMALL = {"encoder": EncoderConfig(width=4), "image_size": 64, "code_dim": 8, "decoder_width": 2}


def built(**changes: Any) -> CMIM:
    torch.manual_seed(0)
    return CMIM(**{**SMALL, **changes}).double().eval()  # type: ignore[return-value]


def test_loss_is_the_bound_of_a_draw_plus_the_contrast(build_batch: Any, take_step: Any) -> None:
    batch = build_batch(views=1)
    method = built()
    x = method.normalise(batch.images[:, 0])
    mean, log_std = method.encode(x)
    torch.manual_seed(0)
    z = mean + log_std.exp() * torch.randn(6, 8).double()
    zero = z.new_zeros(1)
    densities = (
        gaussian_log_density(x, method.decoder(z), method.pixel_log_std),
        gaussian_log_density(z, mean, log_std),
        gaussian_log_density(z, zero, zero),
    )
    contrast = cmim(z[:, None], 0.1)
    for changes, label, expected in (
        ({}, "cMIM", a_mim(*densities) + contrast),
        ({"contrast": 2.5}, "cMIM", a_mim(*densities) + 2.5 * contrast),
        ({"contrast": 0.0}, "MIM", a_mim(*densities)),
        ({"contrast": 0.0, "bound": "vae"}, "VAE", negative_elbo(*densities)),
        ({"bound": "vae"}, "cVAE", negative_elbo(*densities) + contrast),
    ):
        variant = built(**changes)
        out = take_step(variant, batch)
        torch.testing.assert_close(out.loss, expected)
        assert variant.label == label and ("contrast" in out.terms) == (variant.contrast > 0)


def test_parts_are_the_posterior_s_mean_and_the_decoder_s_hidden_states(batch: ViewBatch) -> None:
    method = built()
    parts = method.features(batch.images[:, 0])
    mean, _ = method.encode(method.normalise(batch.images[:, 0]))
    torch.testing.assert_close(parts["all"], mean)
    maps = method.decoder.hidden(mean)
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 4, 4), (16, 8, 8), (8, 16, 16), (4, 32, 32), (2, 64, 64)]
    torch.testing.assert_close(parts["decoder"], torch.cat([m.mean((2, 3)) for m in maps], dim=1))
    assert parts["decoder"].shape[1] == method.decoder.hidden_dim == 62
    again = method.features(batch.images[:, 0])
    assert all(torch.equal(again[part], value) for part, value in parts.items())  # nothing is drawn


def test_draws_have_the_posterior_s_moments() -> None:
    mean, log_std = torch.full((40_000, 2), 3.0), torch.tensor([0.0, -1.0]).expand(40_000, 2)
    torch.manual_seed(0)
    z = draw(mean, log_std)
    torch.testing.assert_close(z.mean(0), torch.tensor([3.0, 3.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([1.0, 0.3679]), atol=0.01, rtol=0)


def test_posterior_keeps_a_deviation(batch: ViewBatch) -> None:
    """MIM rewards certain codes: without a limit its loss has none."""
    method = built()
    with torch.no_grad():
        method.posterior.bias[8:] = -100.0
    _, log_std = method.encode(method.normalise(batch.images[:, 0]))
    assert torch.equal(log_std, torch.full_like(log_std, MIN_LOG_STD)) and MIN_LOG_STD == -3  # log variance -6


def test_training_brings_reconstructions_closer(build_batch: Any) -> None:
    batch = build_batch(views=1)
    method = built().float().train()
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        out = method.step(batch)
        errors.append(out.terms["reconstruction"].item())
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert errors[-1] < 0.7 * errors[0]


def test_decoded_images_are_pixels(batch: ViewBatch) -> None:
    method = built()
    images = batch.images[:, 0]
    torch.testing.assert_close(method.denormalise(method.normalise(images)), images / 255, atol=1e-6, rtol=0)
    pictures = method.decoded(images, torch.Generator().manual_seed(3))
    again = method.decoded(images, torch.Generator().manual_seed(3))
    assert pictures.keys() == {"reconstruction", "sample"}
    for name, pixels in pictures.items():
        assert pixels.shape == images.shape and pixels.min() >= 0 and pixels.max() <= 1
        assert torch.equal(pixels, again[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bound": "elbo"}, "'mim' or 'vae' and contrast of at least 0, got 'elbo'"),
        ({"contrast": -1.0}, "contrast of at least 0"),
        ({"code_dim": 0}, "code_dim and views of at least 1, got 0 and 1"),
        ({"views": 0}, "code_dim and views of at least 1, got 8 and 0"),
        ({"image_size": 48}, "image_size to be 8, 16, 32, 64 or a further double, got 48"),
    ],
)
def test_impossible_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**changes)


def test_images_of_another_size_are_named(build_batch: Any) -> None:
    with pytest.raises(ValueError, match=r"built for images of 64 pixels, got \(32, 32\)"):
        built().step(build_batch(size=32, views=1))


def test_decoder_starts_at_four_pixels() -> None:
    assert ConvDecoder(3, 8, 2).eval()(torch.zeros(1, 3)).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="got 4"):
        ConvDecoder(3, 4, 2)
