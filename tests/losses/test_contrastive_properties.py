"""What every contrastive objective owes: gradients, symmetries, precision, finite limits, and clear errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equissl.losses import similarity
from equissl.losses.clip import clip
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.info_nce import info_nce
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.nt_xent import nt_xent
from equissl.losses.supcon import supcon

OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "nt_xent": nt_xent,
    "nt_xent_own": lambda z, t=0.1: nt_xent(z, t, "own"),
    "clip": clip,
    "one_way": lambda z, t=0.1: info_nce(z[:, 0], z[:, 1], t),
    "supcon": lambda z, t=0.1: supcon(z, torch.arange(len(z)) // 2, t),
    "supcon_in": lambda z, t=0.1: supcon(z, torch.arange(len(z)) // 2, t, "in"),
    "dcl": dcl,
    "dclw": dclw,
    "dhel": dhel,
    "dhel_one_sided": lambda z, t=0.1: dhel(z, t, both=False),
    "mv_info_nce": mv_info_nce,
    "mv_info_nce_cross": lambda z, t=0.1: mv_info_nce(z, t, "cross_view"),
    "mv_dhel": mv_dhel,
    "hard": lambda z, t=0.1: hard_contrastive(z, t, 2),
}
every = pytest.mark.parametrize("loss", OBJECTIVES.values(), ids=OBJECTIVES.keys())


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@every
def test_gradcheck(loss) -> None:
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (random(4, 3, 6).requires_grad_(), temperature))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_of_instances_and_views(name: str) -> None:
    z, loss, order = random(4, 3, 6), OBJECTIVES[name], torch.tensor([1, 0, 3, 2])  # keeps the classes of two
    value = loss(z, 0.3).item()
    assert loss(z[order], 0.3).item() == pytest.approx(value, rel=1e-12)
    moved = loss(z[:, [2, 0, 1]], 0.3).item()
    one_sided = name in ("one_way", "dhel_one_sided")
    assert (moved == pytest.approx(value, rel=1e-9)) is not one_sided
    mixed = z.clone()
    mixed[1] = z[1, [2, 0, 1]]
    slotless = name in ("nt_xent", "nt_xent_own", "supcon", "supcon_in", "dcl", "mv_info_nce")
    assert (loss(mixed, 0.3).item() == pytest.approx(value, rel=1e-9)) is slotless


@every
def test_orthogonal_maps_and_lengths_change_nothing(loss) -> None:
    z, turn = random(4, 3, 6), torch.linalg.qr(random(6, 6))[0]
    scale = random(4, 3, 1).exp()
    assert loss(z @ turn * scale, 0.3).item() == pytest.approx(loss(z, 0.3).item(), rel=1e-12)


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
    for temperature in (0.07, 0.5):
        with torch.autocast("cpu", dtype=dtype):
            value = loss(z, temperature)
        expected = loss(exact, temperature)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected.item(), rel=1e-2, abs=2e-6)
        grad, want = torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, exact)[0]
        assert grad.dtype == dtype and grad.isfinite().all()
        if kind == "random":
            assert (grad.double() - want).norm() < 1e-2 * want.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mv_dhel_of_eight_views_and_a_thousand_instances_does_not_overflow(dtype: torch.dtype) -> None:
    """The product of the energies' exponentials would be exp(8 * 16.9) at this collapse."""
    z = torch.ones(1024, 8, 4, dtype=dtype)
    expected = 7 / 0.1 + 8 * torch.tensor(1023.0).log().item() - torch.tensor(28.0).log().item()
    with torch.autocast("cpu", dtype=dtype):
        assert mv_dhel(z, 0.1).item() == pytest.approx(expected, rel=1e-5)
    near = (z + 0.05 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = mv_dhel(near, 0.1)
    value.backward()
    assert near.grad is not None and near.grad.isfinite().all()
    assert value.item() == pytest.approx(mv_dhel(near.detach().double(), 0.1).item(), rel=1e-4)


@every
def test_blocks_change_neither_value_nor_gradient(loss, monkeypatch: pytest.MonkeyPatch) -> None:
    z = random(5, 3, 6).requires_grad_()
    expected = loss(z, 0.3)
    gradient = torch.autograd.grad(expected, z)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 20)
    value = loss(z, 0.3)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], gradient, rtol=1e-9, atol=1e-12)


@every
def test_zero_vectors_have_cosine_zero_and_no_gradient(loss) -> None:
    z = random(4, 3, 6)
    z[1] = 0
    z.requires_grad_()
    value = loss(z, 0.3)
    gradient = torch.autograd.grad(value, z)[0]
    assert value.isfinite() and gradient.isfinite().all()
    assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0
    # A direction of its own has cosine 0 with everything but itself.
    wide = torch.cat((z.detach(), torch.zeros(4, 3, 3, dtype=torch.float64)), dim=2)
    wide[1, :, 6:] = torch.eye(3, dtype=torch.float64)
    assert value.item() == pytest.approx(loss(wide, 0.3).item(), rel=1e-12)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_embeddings_show_in_the_loss(loss, bad: float) -> None:
    z = random(4, 2, 6)
    z[2, 1, 3] = bad
    assert loss(z, 0.3).isnan()


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"one_way"}))  # the same order in every worker
def test_errors(name: str) -> None:
    loss = OBJECTIVES[name]
    with pytest.raises(ValueError, match=r"at least 2 samples, got 1 \(shape \(1, 3, 6\)\)"):
        loss(random(1, 3, 6))
    with pytest.raises(ValueError, match=r"shape \(B, V, D\), got \(4, 6\)"):
        loss(random(4, 6))
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        loss(random(4, 3, 6), 0)
    with pytest.raises(ValueError, match="positive temperature, got nan"):
        loss(random(4, 3, 6), float("nan"))
    if not name.startswith("supcon"):
        with pytest.raises(ValueError, match=r"at least 2 views, got 1 \(shape \(4, 1, 6\)\)"):
            loss(random(4, 1, 6))


@every
def test_compiled_without_a_break_in_the_graph(loss) -> None:
    torch.compiler.reset()
    z = random(5, 3, 6).requires_grad_()
    value, expected = torch.compile(loss, backend="aot_eager", fullgraph=True)(z, 0.3), loss(z, 0.3)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(v, z)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)
