"""InterCLR's inter-image term against closed forms and MoCo; the arc margin against the angle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses import similarity
from equissl.losses.inter_clr import arc_margin, inter_clr
from equissl.losses.moco import moco

Q, P = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
N = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CHOSEN = torch.randint(12, (4, 5), generator=torch.Generator().manual_seed(2))
kinds = pytest.mark.parametrize("kind", ["cosine", "arc"])


def test_golden() -> None:
    eye = torch.eye(1025, dtype=torch.float64)
    for margin, expected in ((-0.5, 0.4487534), (0.0, 2.0668194)):
        value = inter_clr(eye[:1], eye[:1], eye[1:], margin=margin).item()
        assert value == pytest.approx(expected, abs=5e-8)
        assert value == pytest.approx(math.log1p(1024 * math.exp(-(1 - margin) / 0.2)), rel=1e-12)
    ones = torch.ones(4, 6)
    assert inter_clr(ones, ones, torch.ones(9, 6), margin=0).item() == pytest.approx(math.log(10))


@kinds
def test_without_margin_is_moco(kind: str) -> None:
    torch.testing.assert_close(inter_clr(Q, P, N, margin=0, kind=kind), moco(Q, P, N), rtol=1e-12, atol=0)
    rows = [moco(Q[b : b + 1], P[b : b + 1], N[CHOSEN[b]]) for b in range(4)]
    torch.testing.assert_close(inter_clr(Q, P, N, CHOSEN, margin=0, kind=kind), torch.stack(rows).mean())


def test_margin_multiplies_the_odds_of_the_positive() -> None:
    plain, wide = (inter_clr(Q[:1], P[:1], N, margin=m).item() for m in (0.0, -0.3))
    assert math.expm1(plain) / math.expm1(wide) == pytest.approx(math.exp(0.3 / 0.2), rel=1e-9)


@pytest.mark.parametrize("margin", [-1.2, -0.5, 0.0, 0.5, 1.2])
def test_arc_margin_turns_the_angle_and_goes_on_linearly(margin: float) -> None:
    angle = torch.linspace(0.01, math.pi - 0.01, 2000, dtype=torch.float64)
    value = arc_margin(angle.cos(), margin)
    inside = (angle + margin >= 0) & (angle + margin <= math.pi)
    torch.testing.assert_close(value[inside], (angle[inside] + margin).cos(), rtol=1e-9, atol=1e-9)
    assert (value.diff() <= 1e-12).all()  # falls with the angle everywhere
    assert value.diff().abs().max() < 3 * math.pi / 2000  # and has no jump
    beyond = ~inside
    if beyond.any():
        offsets = (value - angle.cos())[beyond]
        torch.testing.assert_close(offsets, offsets[:1].expand_as(offsets))
    assert (value <= angle.cos() + 1e-12).all() if margin >= 0 else (value >= angle.cos() - 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arc_margin_at_the_ends_has_a_finite_gradient(dtype: torch.dtype) -> None:
    for margin in (-0.5, 0.5):
        q = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
        value = inter_clr(
            q, torch.tensor([[1.0, 0.0]] * 2, dtype=dtype), torch.eye(2, dtype=dtype), margin=margin, kind="arc"
        )
        value.backward()
        assert value.isfinite() and q.grad.isfinite().all()


@kinds
def test_gradcheck_and_only_queries_get_a_gradient(kind: str) -> None:
    q, p, n = (x.clone().requires_grad_() for x in (Q, P, N))
    assert torch.autograd.gradcheck(lambda x: inter_clr(x, P, N, CHOSEN, kind=kind), q)
    assert torch.autograd.gradcheck(lambda x: inter_clr(x, P, N, margin=0.4, kind=kind), q)
    inter_clr(q, p, n, CHOSEN, kind=kind).backward()
    assert q.grad is not None and p.grad is None and n.grad is None


@kinds
def test_orders_orthogonal_maps_and_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q = Q.clone().requires_grad_()
    value, order = inter_clr(q, P, N, CHOSEN, kind=kind), torch.tensor([2, 0, 3, 1])
    gradient = torch.autograd.grad(value, q, retain_graph=True)[0]
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    same = [
        inter_clr(Q[order], P[order], N, CHOSEN[order], kind=kind),
        inter_clr(2 * Q @ turn, P @ turn, 3 * N @ turn, CHOSEN, kind=kind),
        inter_clr(Q, P, N.flip(0), 11 - CHOSEN.flip(1), kind=kind),
    ]
    for other in same:
        torch.testing.assert_close(other, value, rtol=1e-10, atol=0)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 12)
    blocks = inter_clr(q, P, N, CHOSEN, kind=kind)
    torch.testing.assert_close(blocks, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(blocks, q)[0], gradient, rtol=1e-10, atol=1e-13)


@kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["random", "collapsed", "orthonormal"])
def test_half_precision(kind: str, dtype: torch.dtype, case: str) -> None:
    one, eye = torch.ones(4, 16), torch.eye(16)
    inputs: tuple[Tensor, ...] = {
        "random": (Q, P, N),
        "collapsed": (one, one, torch.ones(12, 16)),
        "orthonormal": (eye[:4], eye[:4], eye[4:]),
    }[case]
    half = [x.to(dtype).requires_grad_() for x in inputs]
    for margin in (-0.5, 0.3):
        with torch.autocast("cpu", dtype=dtype):
            value = inter_clr(*half, CHOSEN, margin=margin, kind=kind)
        expected = inter_clr(*(x.detach().double() for x in half), CHOSEN, margin=margin, kind=kind)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-2, atol=1e-6)
        (gradient,) = torch.autograd.grad(value, half[0])
        assert gradient.dtype == dtype and gradient.isfinite().all()


@kinds
def test_zero_and_broken_queries(kind: str) -> None:
    zero = Q.clone()
    zero[1] = 0
    zero.requires_grad_()
    inter_clr(zero, P, N, CHOSEN, kind=kind).backward()
    assert zero.grad.isfinite().all() and zero.grad[1].abs().max() == 0 < zero.grad[0].abs().max()
    for bad in (float("nan"), float("inf")):
        broken = Q.clone()
        broken[2, 3] = bad
        assert inter_clr(broken, P, N, kind=kind).isnan() and inter_clr(Q, broken, N, kind=kind).isnan()


@kinds
def test_compiled(kind: str) -> None:
    torch.compiler.reset()
    q = Q.clone().requires_grad_()

    def fixed(x: Tensor) -> Tensor:
        return inter_clr(x, P, N, CHOSEN, kind=kind)

    value, expected = torch.compile(fixed, backend="aot_eager", fullgraph=True)(q), fixed(q)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(v, q)[0] for v in (value, expected)), rtol=1e-10, atol=1e-13)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(3, 6\)"):
        inter_clr(Q, P[:3], N)
    for bad in (N[:, :3], N[:0], N[None]):
        with pytest.raises(ValueError, match=r"memory \(N, D\) with B, N >= 1"):
            inter_clr(Q, P, bad)
    for chosen in (CHOSEN[:3], CHOSEN[:, :0], CHOSEN[0]):
        with pytest.raises(ValueError, match=r"negatives \(4, n\) with n >= 1, got"):
            inter_clr(Q, P, N, chosen)
    with pytest.raises(ValueError, match="'cosine' or 'arc', got 'angle'"):
        inter_clr(Q, P, N, kind="angle")
    with pytest.raises(ValueError, match="between -pi and pi radians, got 4"):
        inter_clr(Q, P, N, margin=4, kind="arc")
    with pytest.raises(ValueError, match="finite margin, got nan"):
        inter_clr(Q, P, N, margin=float("nan"))
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        inter_clr(Q, P, N, temperature=0)
