"""MoCHi against closed forms, a loop over queries, and MoCo."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses import similarity
from equissl.losses.mochi import HardMixtures, draw_mixtures, mochi
from equissl.losses.moco import moco

Q, K = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
N = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(q: Tensor, k: Tensor = K, n: Tensor = N, detach: bool = True) -> Tensor:
    """Five hardest of twelve, three mixtures of two and two with the query, always the same ones."""
    return mochi(q, k, n, 5, 3, 2, 0.2, detach, seeded())


def only(pair_weight: float | None = None, share: float | None = None) -> HardMixtures:
    """One query that mixes its two hardest negatives, or the hardest with itself."""
    pairs, partners = int(pair_weight is not None), int(share is not None)
    return HardMixtures(
        torch.tensor([[[0, 1]]])[:, :pairs],
        torch.tensor([[pair_weight or 0.0]])[:, :pairs],
        torch.tensor([[0]])[:, :partners],
        torch.tensor([[share or 0.0]])[:, :partners],
    )


def test_golden() -> None:
    inputs = (EYE[:1], EYE[:1], EYE[1:])
    assert mochi(*inputs, 2, 0, 0).item() == pytest.approx(0.0133859, abs=5e-8)
    assert mochi(*inputs, 2, mixtures=only(0.3)).item() == pytest.approx(0.0200123, abs=5e-8)
    assert mochi(*inputs, 2, 1, 0).item() == pytest.approx(0.0200123, abs=5e-8)  # whatever is drawn
    value = mochi(*inputs, 2, mixtures=only(share=0.5)).item()
    assert value == pytest.approx(math.log(1 + 2 * math.exp(-5) + math.exp(5 * (math.sqrt(0.5) - 1))), rel=1e-12)
    assert value == pytest.approx(0.2188763, abs=5e-8)


def test_collapse() -> None:
    ones = torch.ones(4, 6, dtype=torch.float64)
    assert mochi(ones, ones, torch.ones(12, 6).double(), 5, 3, 2).item() == pytest.approx(math.log(1 + 12 + 3 + 2))


@pytest.mark.parametrize("detach", [True, False])
def test_matches_a_loop_over_queries_in_value_and_gradient(detach: bool) -> None:
    drawn, queries = draw_mixtures(4, 5, 3, 2, seeded()), Q.clone().requires_grad_()
    keys, memory = normalize(K, dim=1), normalize(N, dim=1)
    losses = []
    for b, q in enumerate(normalize(queries, dim=1)):
        hardest = memory[(memory @ q).argsort(descending=True)[:5]]
        i, j = drawn.pairs[b].unbind(1)
        a, beta = drawn.pair_weights[b, :, None].double(), drawn.shares[b, :, None].double()
        two = normalize(a * hardest[i] + (1 - a) * hardest[j], dim=1)
        own = normalize(beta * (q.detach() if detach else q) + (1 - beta) * hardest[drawn.partners[b]], dim=1)
        logits = torch.cat(((keys[b] @ q)[None], torch.cat((memory, two, own)) @ q)) / 0.2
        losses.append(-logits.log_softmax(0)[0])
    expected, value = torch.stack(losses).mean(), loss(queries, detach=detach)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(x, queries)[0] for x in (value, expected)), rtol=1e-10, atol=1e-13)


def test_mixtures_of_opposite_negatives_have_no_direction() -> None:
    opposite = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    q = EYE[:1].clone().requires_grad_()
    for detach in (True, False):
        value = mochi(q, EYE[:1], opposite, 2, mixtures=only(0.5), detach=detach)
        assert value.item() == pytest.approx(math.log1p(3 * math.exp(-5)), rel=1e-12)
        assert torch.autograd.grad(value, q)[0].isfinite().all()


def test_without_mixtures_is_moco_and_never_below() -> None:
    plain = moco(Q, K, N)
    torch.testing.assert_close(mochi(Q, K, N, 5, 0, 0), plain, rtol=1e-12, atol=0)
    for seed in range(20):
        for mixed, query_mixed in ((1, 0), (0, 1), (7, 4)):
            value = mochi(Q, K, N, 5, mixed, query_mixed, generator=seeded(seed))
            assert value > plain + 1e-6


def test_harder_negatives_with_fewer_to_choose_from() -> None:
    """The two hardest of 500 make harder mixtures than any two of them."""
    many = torch.randn(500, 6, generator=seeded(2), dtype=torch.float64)
    hard, easy = (mochi(Q, K, many, hardest, 64, 0, generator=seeded()).item() for hardest in (2, 500))
    assert hard > easy + 0.1


@pytest.mark.parametrize("detach", [True, False])
def test_gradcheck(detach: bool) -> None:
    """Detached mixtures hold today's query: the loss is differentiable with the mixtures of another tensor only."""
    q = Q.clone().requires_grad_()
    if not detach:
        assert torch.autograd.gradcheck(lambda x: loss(x, detach=False), q)
        return
    drawn = draw_mixtures(4, 5, 3, 0, seeded())
    assert torch.autograd.gradcheck(lambda x: mochi(x, K, N, 5, mixtures=drawn), q)


def test_detached_mixtures_change_the_gradient_only() -> None:
    q, k, n = (x.clone().requires_grad_() for x in (Q, K, N))
    kept, detached = loss(q, k, n, detach=False), loss(q, k, n)
    assert kept.item() == detached.item()
    first, second = (torch.autograd.grad(value, q, retain_graph=True)[0] for value in (kept, detached))
    assert (first - second).norm() > 1e-3 * first.norm()
    detached.backward()
    assert k.grad is None and n.grad is None


@pytest.mark.parametrize("detach", [True, False])
def test_blocks_change_neither_value_nor_gradient(detach: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    q = Q.clone().requires_grad_()
    expected = loss(q, detach=detach)
    gradient = torch.autograd.grad(expected, q)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 80)
    value = loss(q, detach=detach)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, q)[0], gradient, rtol=1e-10, atol=1e-13)


def test_orders_and_orthogonal_maps() -> None:
    value, order = loss(Q), torch.tensor([2, 0, 3, 1])
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded(3), dtype=torch.float64))[0]
    torch.testing.assert_close(loss(3 * Q @ turn, K @ turn / 7, N @ turn), value, rtol=1e-10, atol=0)
    torch.testing.assert_close(loss(Q, n=N.flip(0)), value, rtol=1e-10, atol=0)
    drawn = draw_mixtures(4, 5, 3, 2, seeded())
    moved = HardMixtures(*(part[order] for part in drawn))
    permuted = mochi(Q[order], K[order], N, 5, mixtures=moved)
    torch.testing.assert_close(permuted, mochi(Q, K, N, 5, mixtures=drawn), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision(dtype: torch.dtype, kind: str) -> None:
    one, eye = torch.ones(4, 16), torch.eye(16)
    q, k, n = {
        "random": (Q, K, N),
        "collapsed": (one, one, torch.ones(12, 16)),
        "orthonormal": (eye[:4], eye[:4], eye[4:]),
    }[kind]
    half = [x.to(dtype).requires_grad_() for x in (q, k, n)]
    with torch.autocast("cpu", dtype=dtype):
        value = loss(*half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(*(x.detach().double() for x in half)), rtol=1e-2, atol=0)
    value.backward()
    assert half[0].grad.dtype == dtype and half[0].grad.isfinite().all()


def test_zero_and_broken_queries() -> None:
    zero = Q.clone()
    zero[1] = 0
    zero.requires_grad_()
    loss(zero).backward()
    assert zero.grad.isfinite().all() and zero.grad[1].abs().max() == 0 < zero.grad[0].abs().max()
    for bad in (float("nan"), float("inf")):
        broken = Q.clone()
        broken[2, 3] = bad
        assert loss(broken).isnan() and loss(Q, broken).isnan()


def test_compiled() -> None:
    torch.compiler.reset()
    drawn, q = draw_mixtures(4, 5, 3, 2, seeded()), Q.clone().requires_grad_()

    def fixed(x: Tensor) -> Tensor:
        return mochi(x, K, N, 5, mixtures=drawn)

    value, expected = torch.compile(fixed, backend="aot_eager", fullgraph=True)(q), fixed(q)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(v, q)[0] for v in (value, expected)), rtol=1e-10, atol=1e-13)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(3, 6\)"):
        mochi(Q, K[:3], N, 5)
    for bad in (N[:, :3], N[:0], N[None]):
        with pytest.raises(ValueError, match=r"negatives \(M, D\) with B, M >= 1"):
            mochi(Q, K, bad, 5)
    with pytest.raises(ValueError, match=r"between 2 and 12 hardest negatives .*, got 1024"):
        mochi(Q, K, N)
    with pytest.raises(ValueError, match=r"between 2 and 12 hardest negatives .*, got 1$"):
        mochi(Q, K, N, 1, 1, 0)
    assert mochi(Q, K, N, 1, 0, 1).isfinite()
    with pytest.raises(ValueError, match="numbers of mixtures from 0, got -1 and 2"):
        mochi(Q, K, N, 5, -1, 2)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        mochi(Q, K, N, 5, temperature=0)
