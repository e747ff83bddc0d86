"""The losses at the two ends of the temperature: the simple loss, its hard version, and a triplet."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses import similarity
from equissl.losses.clip import clip
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.simple_contrastive import hard_simple, simple_contrastive

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "simple": simple_contrastive,
    "simple_weighted": lambda z: simple_contrastive(z, 0.7),
    "hard_simple": lambda z: hard_simple(z, 0.7, 2),
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def anchors(z: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of every anchor with its positive and, sorted, with its negatives, over ordered pairs of views."""
    z = normalize(z, dim=2)
    positives, negatives = [], []
    for v in range(z.shape[1]):
        for w in range(z.shape[1]):
            if w != v:
                table = z[:, v] @ z[:, w].T
                positives.append(table.diagonal())
                negatives += [torch.cat((row[:i], row[i + 1 :])).sort().values for i, row in enumerate(table)]
    return torch.cat(positives), torch.stack(negatives)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_matches_the_definition(views: int, weight: float) -> None:
    z = random(7, views, 6)
    positive, negatives = anchors(z)
    expected = -positive.mean() + weight / 6 * negatives.sum(dim=1).mean()
    assert simple_contrastive(z, weight).item() == pytest.approx(expected.item(), rel=1e-12)
    expected = -positive.mean() + weight / 3 * negatives[:, -3:].sum(dim=1).mean()
    assert hard_simple(z, weight, 3).item() == pytest.approx(expected.item(), rel=1e-12)


def test_all_negatives_give_the_simple_loss_and_fewer_never_less() -> None:
    z = random(7, 3, 6)
    values = [hard_simple(z, 1.0, k).item() for k in range(1, 7)]
    assert values == sorted(values, reverse=True) and values[0] > values[-1]
    assert values[-1] == pytest.approx(simple_contrastive(z).item(), rel=1e-12)
    assert hard_simple(z, 1.0, 1.0).item() == values[-1]
    assert hard_simple(z, 1.0, 0.3).item() == values[1]  # 0.3 of 6 rounded up


@pytest.mark.parametrize("kept", [6, 2])
def test_large_temperatures_lead_to_the_simple_losses(kept: int) -> None:
    """The distance falls as 1 / temperature, in value and gradient."""
    z = random(7, 2, 6).requires_grad_()
    limit = hard_simple(z, 1.0, kept)
    slope = torch.autograd.grad(limit, z)[0]
    gaps, gradient_gaps = [], []
    for temperature in (1e2, 1e3):
        scale = temperature * (kept + 1) / kept
        value = hard_contrastive(z, temperature, kept)
        gaps.append(abs(scale * (value.item() - math.log(kept + 1)) - limit.item()))
        gradient_gaps.append((scale * torch.autograd.grad(value, z)[0] - slope).norm().item())
    for near, far in (gaps, gradient_gaps):
        assert near < 2e-2
        assert far == pytest.approx(near / 10, rel=0.02)


@pytest.mark.parametrize("views", [2, 3])
def test_small_temperatures_lead_to_a_triplet_with_the_hardest_negative(views: int) -> None:
    z = random(7, views, 6).requires_grad_()
    positive, negatives = anchors(z)
    triplet = (negatives[:, -1] - positive).relu().mean()
    slope = torch.autograd.grad(triplet, z)[0]
    for loss in (clip, lambda z, t: hard_contrastive(z, t, 3)):
        for temperature in (1e-2, 1e-4):
            value = temperature * loss(z, temperature)
            # a log-sum-exp of 7 terms is above the largest by 0 to log 7; cosines of 6 numbers are off by about 1e-15
            assert -1e-14 <= value.item() - triplet.item() <= temperature * math.log(7) + 1e-14
        torch.testing.assert_close(torch.autograd.grad(value, z)[0], slope, rtol=1e-6, atol=1e-9)


def test_closed_forms() -> None:
    orthonormal = torch.eye(6, dtype=torch.float64)[:, None].repeat(1, 3, 1)
    collapsed = torch.ones(6, 3, 4, dtype=torch.float64)
    for loss in (simple_contrastive, hard_simple):
        assert loss(orthonormal, 0.7).item() == pytest.approx(-1, rel=1e-12)
        assert loss(collapsed, 0.7).item() == pytest.approx(-0.3, rel=1e-12)
    opposite = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]]).expand(2, 2, 2)
    assert simple_contrastive(opposite).item() == pytest.approx(-2)
    simplex = (orthonormal - 1 / 6)[:, :2]
    assert simple_contrastive(simplex).item() == pytest.approx(-1 - 1 / 5, rel=1e-12)


@every
def test_gradcheck(loss) -> None:
    assert torch.autograd.gradcheck(loss, random(4, 3, 6).requires_grad_())


@every
def test_order_of_instances_and_views_and_orthogonal_maps(loss) -> None:
    z, turn = random(4, 3, 6), torch.linalg.qr(random(6, 6))[0]
    value = loss(z).item()
    for same in (z[[1, 3, 2, 0]], z[:, [2, 0, 1]], z @ turn * random(4, 3, 1).exp()):
        assert loss(same).item() == pytest.approx(value, rel=1e-12)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision_agrees_with_float64(loss, dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.ones(12, 3, 16),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact = z.double().requires_grad_()
    z.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = loss(z)
    expected = loss(exact)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-2, abs=2e-6)
    grad, want = torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, exact)[0]
    assert grad.dtype == dtype and grad.isfinite().all()
    if kind == "random":
        assert (grad.double() - want).norm() < 1e-2 * want.norm()


def test_sums_of_many_cosines_keep_their_digits_in_single_precision() -> None:
    z = random(4096, 2, 16)
    expected = simple_contrastive(z).item()
    assert simple_contrastive(z.float()).item() == pytest.approx(expected, abs=1e-6)
    near = torch.ones(4096, 2, 16, dtype=torch.float64) + 0.01 * z
    assert simple_contrastive(near.float()).item() == pytest.approx(simple_contrastive(near).item(), abs=3e-6)


def test_blocks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    z = random(5, 3, 6).requires_grad_()
    expected = hard_simple(z, 1.0, 2)
    gradient = torch.autograd.grad(expected, z)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10)
    value = hard_simple(z, 1.0, 2)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], gradient, rtol=1e-9, atol=1e-12)


@every
def test_zero_vectors_have_cosine_zero_and_no_gradient(loss) -> None:
    z = random(4, 3, 6)
    z[1] = 0
    z.requires_grad_()
    value = loss(z)
    gradient = torch.autograd.grad(value, z)[0]
    assert value.isfinite() and gradient.isfinite().all()
    assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_embeddings_show_in_the_loss(loss, bad: float) -> None:
    z = random(4, 2, 6)
    z[2, 1, 3] = bad
    assert loss(z).isnan()


@every
def test_compiled_without_a_break_in_the_graph(loss) -> None:
    torch.compiler.reset()
    z = random(5, 3, 6).requires_grad_()
    value, expected = torch.compile(loss, backend="aot_eager", fullgraph=True)(z), loss(z)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(v, z)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


@every
def test_errors(loss) -> None:
    with pytest.raises(ValueError, match=r"simple (contrastive )?loss needs a batch of at least 2 samples, got 1"):
        loss(random(1, 3, 6))
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        loss(random(4, 1, 6))
    with pytest.raises(ValueError, match=r"shape \(B, V, D\), got \(4, 6\)"):
        loss(random(4, 6))


def test_number_of_negatives() -> None:
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3 negatives .batch size minus 1., got {count}"):
            hard_simple(random(4, 2, 6), hardest=count)
    with pytest.raises(ValueError, match=r"fraction of negatives in \(0, 1\], got 1.5"):
        hard_simple(random(4, 2, 6), hardest=1.5)
