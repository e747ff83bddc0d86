"""cMIM's contrastive term against golden values and InfoNCE, and A-MIM against a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses import similarity
from equissl.losses.clip import clip
from equissl.losses.cmim import a_mim, cmim

FORMS = {"self": lambda z, t=0.1: cmim(z, t), "view": lambda z, t=0.1: cmim(z, t, "view")}
each = pytest.mark.parametrize("loss", FORMS.values(), ids=FORMS.keys())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def test_golden_value() -> None:
    a = on_circle(0, 90, 200)
    assert cmim(a[:, None], 0.5).item() == pytest.approx(0.0718588580, abs=1e-9)
    assert cmim(torch.stack((a, a), dim=1), 0.5, "view").item() == pytest.approx(0.0718588580, abs=1e-9)


@each
@pytest.mark.parametrize("batch", [2, 5, 64])
@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_values_do_not_grow_with_the_batch(loss, batch: int, tau: float) -> None:
    eye = torch.eye(batch, dtype=torch.float64)[:, None].expand(batch, 3, batch)
    assert loss(eye, tau).item() == pytest.approx(math.log1p(math.exp(-1 / tau)), rel=1e-9)
    assert loss(torch.ones(batch, 2, 3).double(), tau).item() == pytest.approx(math.log(2), rel=1e-9)


def test_is_info_nce_with_negatives_lowered_by_the_log_of_their_number() -> None:
    z, tau = random(6, 2, 8), 0.2
    unit = torch.nn.functional.normalize(z, dim=2)
    lowered = -math.log(5) * (1 - torch.eye(6, dtype=torch.float64))
    target = torch.arange(6)

    def info_nce(q: Tensor, k: Tensor) -> float:
        return torch.nn.functional.cross_entropy(q @ k.T / tau + lowered, target).item()

    a, b = unit.unbind(1)
    assert cmim(z, tau).item() == pytest.approx((info_nce(a, a) + info_nce(b, b)) / 2, rel=1e-12)
    assert cmim(z, tau, "view").item() == pytest.approx((info_nce(a, b) + info_nce(b, a)) / 2, rel=1e-12)
    assert cmim(z[:2], tau, "view").item() == pytest.approx(clip(z[:2], tau).item(), rel=1e-12)  # log 1 is 0


def test_only_the_view_form_pulls_views_together() -> None:
    z = random(6, 2, 8)
    mismatched = torch.stack((z[:, 0], z[:, 1].roll(1, 0)), dim=1)
    assert cmim(mismatched).item() == pytest.approx(cmim(z).item(), rel=1e-12)
    assert cmim(mismatched, positive="view").item() != pytest.approx(cmim(z, positive="view").item(), rel=1e-3)
    assert cmim(z[:, :1]).isfinite()


@each
def test_gradcheck(loss) -> None:
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (random(4, 3, 6).requires_grad_(), temperature))


@each
def test_symmetries(loss) -> None:
    z, turn = random(5, 3, 6), torch.linalg.qr(random(6, 6)).Q
    value = loss(z, 0.3).item()
    for same in (z[[3, 0, 4, 1, 2]], z[:, [2, 0, 1]], z @ turn * random(5, 3, 1).exp()):
        assert loss(same, 0.3).item() == pytest.approx(value, rel=1e-12)


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision(loss, dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.full((12, 3, 16), 0.7),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact = z.double()
    z.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = loss(z)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(exact).item(), rel=1e-2, abs=1e-7)
    value.backward()
    assert z.grad is not None and z.grad.dtype == dtype and z.grad.isfinite().all()


@each
def test_blocks_compilation_zero_and_broken_vectors(loss, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    z = random(5, 3, 6)
    expected = loss(z)
    torch.testing.assert_close(
        torch.compile(loss, backend="aot_eager", fullgraph=True)(z), expected, rtol=1e-12, atol=0
    )
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10)
    torch.testing.assert_close(loss(z), expected, rtol=1e-12, atol=0)
    z[1] = 0
    z.requires_grad_()
    gradient = torch.autograd.grad(loss(z), z)[0]
    assert gradient.isfinite().all() and gradient[1].abs().max() == 0
    for bad in (math.nan, math.inf):
        broken = random(5, 3, 6)
        broken[2, 1, 3] = bad
        assert loss(broken).isnan()


def test_a_mim_of_a_gaussian() -> None:
    """With q = p = N(0, 1) in every dimension, the codes' part is their log density."""
    z, likelihood = random(7, 3), random(7, seed=1)
    log_density = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    expected = -(likelihood + log_density).mean().item()
    assert a_mim(likelihood, log_density, log_density).item() == pytest.approx(expected, rel=1e-12)
    half = -(likelihood + log_density / 2).mean().item()
    assert a_mim(likelihood, None, log_density).item() == pytest.approx(half, rel=1e-12)
    with pytest.raises(ValueError, match=r"of one shape \(B,\), got \[\(7,\), \(6,\), \(7,\)\]"):
        a_mim(likelihood, log_density, log_density[:6])


def test_errors() -> None:
    z = random(4, 2, 6)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        cmim(z[:1])
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        cmim(z[:, :1], positive="view")
    with pytest.raises(ValueError, match=r"shape \(B, V, D\), got \(4, 6\)"):
        cmim(z[:, 0])
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        cmim(z, 0)
    with pytest.raises(ValueError, match="'self' or 'view', got 'other'"):
        cmim(z, positive="other")
