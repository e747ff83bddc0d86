"""Gates and cosines in the gated subspace against their definitions, and the loss that they are for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from equissl.losses.gating import (
    PairGate,
    gated_cosine,
    gated_product,
    gumbel_sigmoid,
    open_probability,
    stochastic_gate,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


A, B, G = random(4, 6), random(5, 6, seed=1), random(4, 6, seed=2).sigmoid()


def test_gated_cosine_is_the_cosine_of_gated_vectors() -> None:
    expected = cosine_similarity((A * G)[:, None], B * G[:, None], dim=2)
    torch.testing.assert_close(gated_cosine(A, B, G), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gated_cosine(A, B, torch.ones_like(A)), normalize(A) @ normalize(B).T)


def test_what_a_factor_of_the_gate_does() -> None:
    for c in (1e-12, 0.3, 1e6):
        torch.testing.assert_close(gated_cosine(A, B, c * G), gated_cosine(A, B, G), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(gated_product(A, B, c * G), c * c * gated_product(A, B, G))
    expected = torch.einsum("ad,nd->an", normalize(A) * G * G, normalize(B))
    torch.testing.assert_close(gated_product(A, B, G), expected)


def test_hard_gates_choose_a_subspace() -> None:
    gate = torch.tensor([1.0, 0, 1, 0, 0, 1]).double().expand(4, 6)
    part = [0, 2, 5]
    torch.testing.assert_close(gated_cosine(A, B, gate), normalize(A[:, part]) @ normalize(B[:, part]).T)


def test_zero_vectors_and_closed_gates_have_cosine_zero_and_finite_gradients() -> None:
    a, b, g = A.clone(), B.clone(), G.clone()
    a[0], b[1], g[2] = 0, 0, 0
    g[3], b[4] = torch.tensor([1.0, 1, 1, 0, 0, 0]), torch.tensor([0, 0, 0, 1.0, 2, 3])
    tensors = [x.requires_grad_() for x in (a, b, g)]
    value = gated_cosine(*tensors)
    assert value[0].abs().max() == value[2].abs().max() == value[:, 1].abs().max() == value[3, 4] == 0
    assert value[1, 0] != 0
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(value.square().sum(), tensors))


def test_gradcheck() -> None:
    tensors = [x.clone().requires_grad_() for x in (A, B, G)]
    assert torch.autograd.gradcheck(gated_product, tensors)
    # The scale of the gates is divided out as a constant, which it is: no factor of a gate matters.
    assert torch.autograd.gradcheck(gated_cosine, tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_broken_values(dtype: torch.dtype) -> None:
    a, b, g = A.to(dtype), B.to(dtype), G.to(dtype)
    for function in (gated_cosine, gated_product):
        with torch.autocast("cpu", dtype=dtype):
            value = function(a, b, g)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), function(a.double(), b.double(), g.double()), rtol=1e-4, atol=1e-5)
        for bad in (math.nan, math.inf):
            broken = A.clone()
            broken[1, 2] = bad
            assert function(broken, B, G)[1].isnan().all()
            broken = B.clone()
            broken[1, 2] = bad
            assert function(A, broken, G)[:, 1].isnan().all()


def test_stochastic_gates_follow_their_probability() -> None:
    mean = torch.tensor([-0.8, -0.5, 0.0, 0.4]).double().requires_grad_()
    gates = stochastic_gate(mean.expand(20000, 4), generator=seeded())
    assert gates.min() == 0 and gates.max() == 1
    probability = open_probability(mean)
    torch.testing.assert_close((gates > 0).double().mean(0), probability, rtol=0, atol=0.015)
    expected = 0.5 * (1 + torch.erf((mean + 0.5) / 0.5 / math.sqrt(2)))
    torch.testing.assert_close(probability, expected)
    assert torch.autograd.grad(probability.sum(), mean)[0].min() > 0
    torch.testing.assert_close(stochastic_gate(mean, 0.0), (mean + 0.5).clamp(0, 1))


def test_gumbel_gates_are_bernoulli_at_low_temperature() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5]).double()
    gates = gumbel_sigmoid(logits.expand(20000, 3), 0.01, seeded())
    torch.testing.assert_close(gates.mean(0), logits.sigmoid(), rtol=0, atol=0.015)
    torch.testing.assert_close((gates > 0.5).double().mean(0), logits.sigmoid(), rtol=0, atol=0.015)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert gumbel_sigmoid(torch.zeros(100000, dtype=dtype), generator=seeded()).isfinite().all()
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        gumbel_sigmoid(logits, 0)


@pytest.mark.parametrize("kind", ["sigmoid", "gumbel", "stochastic"])
@pytest.mark.parametrize("combine", ["mean", "product"])
def test_pair_gate(kind: str, combine: str) -> None:
    torch.manual_seed(0)
    gate = PairGate(5, 6, kind, combine, width=8, hidden=16)
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 1, 0, 2])
    value = gate(first, second, seeded())
    assert value.shape == (4, 6) and value.min() >= 0 and value.max() <= 1
    value.square().sum().backward()
    assert gate.classes.weight.grad is not None and gate.classes.weight.grad.abs().max() > 0
    again = gate(first, second, seeded(1))
    assert torch.equal(value, again) is (kind == "sigmoid")
    gate.eval()
    assert torch.equal(gate(first, second), gate(first, second))
    torch.testing.assert_close(gate(first, second), gate(second, first))
    gates, openness = gate.draw(first, second)
    assert torch.equal(gates, openness) is (kind != "stochastic")
    assert openness.min() >= 0 and openness.max() <= 1
    assert gate(first[:1], second[:1]).shape == (1, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert gate(first, second).dtype == torch.float32


def test_product_of_gates_is_closed_where_either_is() -> None:
    torch.manual_seed(0)
    gate = PairGate(3, 4, combine="product", width=8, hidden=8).eval()
    one, two = torch.tensor([0]), torch.tensor([1])
    single = [gate(c, c).sqrt() for c in (one, two)]
    torch.testing.assert_close(gate(one, two), single[0] * single[1])


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"gates \(A, D\), got \(4, 6\), \(5, 6\) and \(5, 6\)"):
        gated_cosine(A, B, B)
    with pytest.raises(ValueError, match=r"got \(4, 6\), \(5, 5\) and \(4, 6\)"):
        gated_product(A, B[:, :5], G)
    with pytest.raises(ValueError, match="at least 2 pairs in training, got 1"):
        PairGate(3, 4, width=2, hidden=2)(torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"two \(A,\) of classes, got \(2,\) and \(1,\)"):
        PairGate(3, 4, width=2, hidden=2)(torch.tensor([0, 1]), torch.tensor([1]))
    with pytest.raises(ValueError, match="got 'relu' and 'mean'"):
        PairGate(3, 4, "relu")
    with pytest.raises(ValueError, match="positive sizes, got 0 classes"):
        PairGate(0, 4)


def test_compiled() -> None:
    torch.compiler.reset()
    compiled = torch.compile(gated_cosine, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(A, B, G), gated_cosine(A, B, G), rtol=1e-12, atol=1e-12)
