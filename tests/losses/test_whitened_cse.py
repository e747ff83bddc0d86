"""Shuffled group whitening and WhitenedCSE against closed forms and plain cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from equissl.losses import similarity
from equissl.losses.whitened_cse import whitened_copies, whitened_cse
from equissl.losses.whitening import default_groups, draw_permutations, group_whiten, zca_whiten

METHODS = ["eigh", "newton_schulz", "cholesky"]
every = pytest.mark.parametrize("method", METHODS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = random(24, 6) @ random(6, 6, seed=1) + 3
ORDER = torch.tensor([4, 0, 3, 5, 1, 2])


@every
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_blocks_of_the_covariance_are_the_identity(method: str, groups: int) -> None:
    white = group_whiten(X, groups, ORDER, method, eps=0, iterations=40)[:, ORDER]
    torch.testing.assert_close(white.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-9)
    covariance = white.T @ white / len(X)
    for block in range(groups):
        width = 6 // groups
        part = covariance[block * width : (block + 1) * width, block * width : (block + 1) * width]
        torch.testing.assert_close(part, torch.eye(width).double(), rtol=1e-8, atol=1e-8)
    if groups in (2, 3):
        assert (covariance - torch.eye(6)).abs().max() > 0.1  # between groups nothing is removed


def test_one_group_is_zca_and_one_channel_a_group_standardises() -> None:
    rows = len(X)
    torch.testing.assert_close(group_whiten(X, 1, eps=0), zca_whiten(X) * math.sqrt(rows / (rows - 1)))
    standardised = (X - X.mean(0)) / X.std(0, correction=0)
    torch.testing.assert_close(group_whiten(X, 6, eps=0), standardised)
    for groups in (1, 6):
        torch.testing.assert_close(group_whiten(X, groups, ORDER, eps=0), group_whiten(X, groups, eps=0))
    assert (group_whiten(X, 2, ORDER) - group_whiten(X, 2)).abs().max() > 0.1


def test_shuffle_is_undone() -> None:
    expected = torch.empty_like(X)
    expected[:, ORDER] = group_whiten(X[:, ORDER], 3)
    torch.testing.assert_close(group_whiten(X, 3, ORDER), expected)
    both, orders = torch.stack((X, 2 * X)), torch.stack((ORDER, torch.arange(6)))
    torch.testing.assert_close(group_whiten(both, 3, orders)[0], group_whiten(X, 3, ORDER))
    torch.testing.assert_close(group_whiten(both, 3, orders)[1], group_whiten(2 * X, 3))


def test_newton_schulz_approaches_eigh() -> None:
    exact = group_whiten(X, 2, ORDER)
    errors = [(group_whiten(X, 2, ORDER, "newton_schulz", iterations=n) - exact).abs().max() for n in (3, 8, 40)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-6


@every
def test_gradcheck_also_with_repeated_eigenvalues(method: str) -> None:
    def whiten(x: Tensor) -> Tensor:
        return group_whiten(x, 2, ORDER, method, eps=0.01)

    assert torch.autograd.gradcheck(whiten, X[:7].clone().requires_grad_())
    orthogonal = torch.cat((torch.eye(6), -torch.eye(6))).double()  # every covariance is a multiple of I
    assert torch.autograd.gradcheck(whiten, orthogonal.requires_grad_())
    zca = torch.cat((torch.eye(3), -torch.eye(3))).double().requires_grad_()
    assert torch.autograd.gradcheck(zca_whiten, zca)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_collapse_is_finite_in_value_and_gradient(method: str, dtype: torch.dtype) -> None:
    x = torch.full((8, 6), 0.7, dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        white = group_whiten(x, 2, ORDER, method)
    white.square().sum().backward()
    assert white.dtype == torch.float32 and white.abs().max() < 1e-3
    assert x.grad is not None and x.grad.isfinite().all()


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_values_show_in_their_group(method: str, bad: float) -> None:
    x = X.clone()
    x[3, 0] = bad
    white = group_whiten(x, 2, None, method)
    assert white[:, :3].isnan().any() and white[:, 3:].isfinite().all()


def test_automatic_number_of_groups() -> None:
    assert default_groups(128, 768) == 12 and default_groups(12, 768) == 128
    assert default_groups(4, 7) == 7 and default_groups(100, 6) == 1
    torch.testing.assert_close(group_whiten(X), group_whiten(X, 1))


def test_whitening_errors() -> None:
    with pytest.raises(ValueError, match="divides 6 channels, got 4"):
        group_whiten(X, 4)
    with pytest.raises(ValueError, match=r"N >= 2, got \(1, 6\)"):
        group_whiten(X[:1])
    with pytest.raises(ValueError, match="groups of 6 channels at eps 0 needs more rows, got 6"):
        group_whiten(X[:6], 1, eps=0)
    with pytest.raises(ValueError, match=r"permutation \(6,\) or one per batch of rows, got \(5,\)"):
        group_whiten(X, 2, ORDER[:5])
    with pytest.raises(ValueError, match="'eigh', 'newton_schulz' or 'cholesky', got 'qr'"):
        group_whiten(X, 2, method="qr")
    with pytest.raises(ValueError, match=r"eps in \[0, 1\), got 1"):
        group_whiten(X, 2, eps=1)


def test_copies_are_in_order_and_drawn_by_the_generator() -> None:
    z = random(12, 2, 6)
    orders = draw_permutations(6, 6, torch.Generator().manual_seed(3)).view(2, 3, 6)
    rows = whitened_copies(z, 3, 2, permutations=orders)
    assert rows.shape == (12, 6, 6)
    for view in range(2):
        for copy in range(3):
            expected = group_whiten(z[:, view], 2, orders[view, copy])
            torch.testing.assert_close(rows[:, 3 * view + copy], expected)
    torch.testing.assert_close(whitened_copies(z, 3, 2, generator=torch.Generator().manual_seed(3)), rows)
    assert len({tuple(order.tolist()) for order in orders.flatten(0, 1)}) > 4
    with pytest.raises(ValueError, match=r"permutations \(2, 1, 6\), got \(2, 3, 6\)"):
        whitened_copies(z, 1, 2, permutations=orders)
    with pytest.raises(ValueError, match=r"copies >= 1, got \(12, 2, 6\) and 0"):
        whitened_copies(z, 0)


def test_loss_is_a_sum_of_cross_entropies_from_one_anchor() -> None:
    z, target = random(6, 4, 5), torch.arange(6)
    unit = normalize(z, dim=2)
    expected = sum(cross_entropy(unit[:, 0] @ unit[:, k].T / 0.05, target) for k in (1, 2, 3))
    assert whitened_cse(z).item() == pytest.approx(expected.item(), rel=1e-10)
    assert whitened_cse(z[:, [0, 3, 1, 2]]).item() == pytest.approx(expected.item(), rel=1e-10)
    assert whitened_cse(z[:, [1, 0, 2, 3]]).item() != pytest.approx(expected.item(), rel=1e-3)


def test_closed_forms() -> None:
    eye = torch.eye(5, dtype=torch.float64)[:, None].expand(5, 3, 5)
    assert whitened_cse(eye, 0.5).item() == pytest.approx(2 * math.log1p(4 * math.exp(-2)))
    assert whitened_cse(torch.ones(5, 4, 3)).item() == pytest.approx(3 * math.log(5))
    # Whitened copies of a collapsed batch are all at the origin, where cosines are 0.
    assert whitened_cse(whitened_copies(torch.ones(5, 2, 4), 2)).item() == pytest.approx(3 * math.log(5))


@every
def test_gradcheck_of_the_whole(method: str) -> None:
    orders = draw_permutations(6, 6, torch.Generator().manual_seed(0)).view(3, 2, 6)

    def loss(z: Tensor) -> Tensor:
        return whitened_cse(whitened_copies(z, 2, 3, method, 0.01, orders), 0.5)

    assert torch.autograd.gradcheck(loss, random(4, 3, 6).requires_grad_())


def test_symmetries() -> None:
    z, turn = random(8, 3, 6), torch.linalg.qr(random(6, 6)).Q
    order = torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    value = whitened_cse(z).item()
    for same in (z[order], z @ turn * random(8, 3, 1).exp()):
        assert whitened_cse(same).item() == pytest.approx(value, rel=1e-10)
    seeded = [whitened_copies(x, 2, 2, generator=torch.Generator().manual_seed(0)) for x in (z, z[order])]
    torch.testing.assert_close(seeded[0][order], seeded[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision(dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.full((12, 3, 16), 0.7),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact = z.double()
    z.requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return whitened_cse(whitened_copies(z, 2, 4, generator=torch.Generator().manual_seed(0)), 0.1)

    with torch.autocast("cpu", dtype=dtype):
        value = loss(z)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(exact).item(), rel=1e-2, abs=1e-6)
    value.backward()
    assert z.grad is not None and z.grad.dtype == dtype and z.grad.isfinite().all()


@every
def test_blocks_and_compilation_change_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    z = random(8, 2, 6).requires_grad_()
    orders = draw_permutations(4, 6, torch.Generator().manual_seed(0)).view(2, 2, 6)

    def loss(z: Tensor) -> Tensor:
        return whitened_cse(whitened_copies(z, 2, 2, method, permutations=orders))

    expected = loss(z)
    gradient = torch.autograd.grad(expected, z)[0]
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)(z)
    torch.testing.assert_close(compiled, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(compiled, z)[0], gradient, rtol=1e-8, atol=1e-10)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10)
    torch.testing.assert_close(loss(z), expected, rtol=1e-10, atol=1e-12)


def test_loss_errors_and_broken_rows() -> None:
    z = random(4, 2, 6)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        whitened_cse(z[:1])
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        whitened_cse(z[:, :1])
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        whitened_cse(z, 0)
    z[1, 1, 1] = math.nan
    assert whitened_cse(z).isnan() and whitened_cse(whitened_copies(z)).isnan()
