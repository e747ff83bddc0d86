"""Group ordering against closed forms, a slow version from the definition, and what a loss of embeddings owes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, normalize

from equissl.losses import similarity
from equissl.losses.groco import groco, group_ordering
from equissl.losses.soft_sort import soft_sort


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def ordering(negatives: Sequence[float], positives: Sequence[float], steepness: float = 1.0, **options: str) -> float:
    groups = (torch.tensor(group, dtype=torch.float64) for group in (negatives, positives))
    return group_ordering(*groups, steepness, **options).item()


def by_definition(z: Tensor, steepness: float, hardest: int, crops: int, stop: bool = True, **options: str) -> Tensor:
    """One anchor after another, with the whole permutation matrix and torch's cross-entropy."""
    z = normalize(z, dim=2)
    fixed = z.detach() if stop else z
    losses = []
    for i in range(len(z)):
        for v in range(z.shape[1]):
            others = torch.stack([fixed[j, v] for j in range(len(z)) if j != i]) @ z[i, v]
            positives = torch.stack([fixed[i, w] for w in range(crops) if w != v]) @ z[i, v]
            items = torch.cat((others.sort().values[-hardest:], positives.sort().values))
            top = soft_sort(items, steepness, **options)[1][:, -len(positives) :].sum(dim=1)
            target = (torch.arange(len(items)) >= hardest).double()
            losses.append(binary_cross_entropy(top.clamp(0, 1), target))
    return torch.stack(losses).mean()


def test_one_negative_and_one_positive() -> None:
    assert ordering([0], [1]) == pytest.approx(0.2876820725, abs=1e-9)
    assert ordering([1], [0]) == pytest.approx(1.3862943611, abs=1e-9)
    assert ordering([0.3], [0.3], 5) == pytest.approx(math.log(2))
    for negative, positive, steepness in ((0.2, -0.7, 3.0), (-0.9, 0.4, 20.0)):
        expected = -math.log(0.5 + math.atan(steepness * (positive - negative)) / math.pi)
        assert ordering([negative], [positive], steepness) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("negatives", "positives", "steepness", "expected"),
    [
        ([0, 0], [1], 1, -(math.log(0.75) + 2 * math.log(0.875)) / 3),
        ([0, 0], [1], 1, 0.1849149526),
        ([0, 0], [1], 10, 0.0214065044),
        ([0] * 10, [1], 1, 0.1793487828),
        ([0] * 10, [1], 10, 0.0304279665),
        ([0.6] * 10, [0.6], 1, 0.2019829215),
        ([0.6] * 10, [0.6], 37, 0.2019829215),
        ([-0.2, 0.1, 0.3], [0.9], 1, 0.3249266118),
        ([-0.2, 0.1, 0.3], [0.9], 10, 0.0539558349),
        ([0], [1, 1], 1, 0.3710680432),
    ],
)
def test_golden_values(negatives: list[float], positives: list[float], steepness: float, expected: float) -> None:
    assert ordering(negatives, positives, steepness) == pytest.approx(expected, abs=1e-9)


def test_order_inside_groups_a_shift_and_a_scale() -> None:
    value = ordering([-0.2, 0.1, 0.3], [0.5, 0.9])
    assert ordering([0.3, -0.2, 0.1], [0.9, 0.5]) == value
    assert ordering([0.8, 1.1, 1.3], [1.5, 1.9]) == pytest.approx(value, rel=1e-12)
    assert ordering([-0.6, 0.3, 0.9], [1.5, 2.7], 1 / 3) == pytest.approx(value, rel=1e-12)


def test_circle() -> None:
    a, b = on_circle(0, 90, 200), on_circle(20, 70, 230)
    negatives = torch.stack([torch.cat((row[:i], row[i + 1 :])) for i, row in enumerate(a @ a.T)])
    value = group_ordering(negatives, (a * b).sum(dim=1, keepdim=True)).mean()
    assert value.item() == pytest.approx(0.1609360254, abs=1e-9)


def test_orthonormal_and_collapsed_batches() -> None:
    orthonormal = torch.eye(12, dtype=torch.float64)[:, None].repeat(1, 2, 1)
    assert groco(orthonormal).item() == pytest.approx(0.1793487828, abs=1e-9)
    assert groco(orthonormal, 10.0).item() == pytest.approx(0.0304279665, abs=1e-9)
    collapsed = torch.full((12, 2, 3), 0.3, dtype=torch.float64)
    assert groco(collapsed, 4.0).item() == pytest.approx(0.2019829215, abs=1e-9)
    assert groco(collapsed, hardest=1).item() == pytest.approx(math.log(2))
    assert groco(torch.eye(3)[:, None].repeat(1, 3, 1), hardest=1).item() == pytest.approx(0.3710680432, abs=1e-7)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize(("views", "crops"), [(2, 2), (3, 3), (5, 2), (4, 3)])
def test_matches_the_definition(views: int, crops: int, stop: bool) -> None:
    z = random(6, views, 5).requires_grad_()
    value, expected = groco(z, 2.0, 3, crops, stop), by_definition(z, 2.0, 3, crops, stop)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, z)[0] for loss in (value, expected)), rtol=1e-9, atol=1e-12)


def test_other_networks_and_swaps() -> None:
    z, options = random(6, 3, 5), {"network": "bitonic", "swap": "logistic"}
    expected = by_definition(z, 2.0, 4, 3, **options).item()
    assert groco(z, 2.0, 4, network="bitonic", swap="logistic").item() == pytest.approx(expected, rel=1e-12)
    assert abs(groco(z, 2.0, 4).item() - expected) > 1e-3


def test_stopping_the_gradient_keeps_the_value() -> None:
    z = random(6, 3, 5).requires_grad_()
    stopped, free = groco(z, 2.0, 3), groco(z, 2.0, 3, stop_gradient=False)
    assert stopped.item() == free.item()
    gradients = [torch.autograd.grad(loss, z)[0] for loss in (stopped, free)]
    assert (gradients[0] - gradients[1]).norm() > 0.1 * gradients[0].norm()


def test_small_crops_teach_nobody() -> None:
    """A small crop is no positive: the large crops' losses do not see it, so they are those of a batch without it."""
    z = random(6, 4, 5)
    value = groco(z, 1.0, 3, positives=2).item()
    moved = z.clone()
    moved[:, 2:] = random(2, 6, 4, 5)[1][:, 2:]
    large = groco(z[:, :2], 1.0, 3).item()
    small = [2 * value - large, 2 * groco(moved, 1.0, 3, positives=2).item() - large]
    per_crop = [by_definition(torch.cat((z[:, :2], z[:, v : v + 1]), 1), 1.0, 3, 2).item() for v in (2, 3)]
    assert small[0] == pytest.approx(sum(3 * x - 2 * large for x in per_crop) / 2, rel=1e-9)
    assert abs(small[1] - small[0]) > 1e-3


def test_hardest_as_a_fraction() -> None:
    z = random(7, 2, 6)
    assert groco(z, hardest=0.3).item() == groco(z, hardest=2).item()
    assert groco(z, hardest=1.0).item() == groco(z, hardest=6).item()


def test_gradcheck() -> None:
    steepness = torch.tensor(1.4, dtype=torch.float64, requires_grad=True)
    inputs = (random(4, 3, 6).requires_grad_(), steepness)
    assert torch.autograd.gradcheck(lambda z, b: groco(z, b, 2, stop_gradient=False), inputs)
    assert torch.autograd.gradcheck(lambda z, b: groco(z, b, 3, positives=2, stop_gradient=False), inputs)


def test_order_of_instances_and_views_and_orthogonal_maps() -> None:
    z, turn = random(5, 3, 6), torch.linalg.qr(random(6, 6))[0]
    value = groco(z, 2.0, 3).item()
    scale = random(5, 3, 1).exp()
    for same in (z[[3, 0, 4, 2, 1]], z[:, [2, 0, 1]], z @ turn * scale):
        assert groco(same, 2.0, 3).item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision_agrees_with_float64(dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.ones(12, 3, 16),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact = z.double().requires_grad_()
    z.requires_grad_()
    for steepness in (1.0, 30.0):
        with torch.autocast("cpu", dtype=dtype):
            value = groco(z, steepness)
        expected = groco(exact, steepness)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected.item(), rel=1e-2)
        grad, want = torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, exact)[0]
        assert grad.dtype == dtype and grad.isfinite().all()
        if kind == "random":
            assert (grad.double() - want).norm() < 1e-2 * want.norm()


def test_underflowing_swaps_give_a_finite_loss_and_gradient() -> None:
    negative, positive = torch.tensor([1.0]), torch.tensor([-1.0], requires_grad=True)
    value = group_ordering(negative, positive, 1e4, swap="logistic")
    value.backward()
    assert value.item() == pytest.approx(-math.log(torch.finfo(torch.float32).tiny), rel=1e-6)
    assert positive.grad is not None and positive.grad.isfinite().all()
    assert group_ordering(positive.detach(), negative, 1e4, swap="logistic") == 0


def test_blocks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    z = random(5, 3, 6).requires_grad_()
    expected = groco(z, 2.0, 3)
    gradient = torch.autograd.grad(expected, z)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10)
    value = groco(z, 2.0, 3)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], gradient, rtol=1e-9, atol=1e-12)


def test_zero_vectors_have_cosine_zero_and_no_gradient() -> None:
    z = random(4, 3, 6)
    z[1] = 0
    z.requires_grad_()
    value = groco(z, 2.0, 2)
    gradient = torch.autograd.grad(value, z)[0]
    assert value.isfinite() and gradient.isfinite().all()
    assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_embeddings_show_in_the_loss(bad: float) -> None:
    z = random(4, 2, 6)
    z[2, 1, 3] = bad
    assert groco(z, hardest=3).isnan()


def test_compiled_without_a_break_in_the_graph() -> None:
    torch.compiler.reset()
    z = random(5, 3, 6).requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return groco(z, 2.0, 3, positives=2)

    value, expected = torch.compile(loss, backend="aot_eager", fullgraph=True)(z), loss(z)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(v, z)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


def test_errors() -> None:
    z = random(4, 3, 6)
    for count in (0, 4, 10):
        with pytest.raises(ValueError, match=f"between 1 and 3 negatives .batch size minus 1., got {count}"):
            groco(z, hardest=count)
    for crops in (1, 4):
        with pytest.raises(ValueError, match=f"between 2 and 3 views .all of them. as positives, got {crops}"):
            groco(z, hardest=2, positives=crops)
    with pytest.raises(ValueError, match="GroCo needs a batch of at least 2 samples, got 1"):
        groco(z[:1], hardest=1)
    with pytest.raises(ValueError, match="GroCo needs at least 2 views, got 1"):
        groco(z[:, :1], hardest=1)
    with pytest.raises(ValueError, match="positive steepness, got -1"):
        groco(z, -1, 2)
    with pytest.raises(ValueError, match=r"K, P >= 1, got \(2, 0\) and \(2, 1\)"):
        group_ordering(torch.ones(2, 0), torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(3, 1\)"):
        group_ordering(torch.ones(2, 1), torch.ones(3, 1))
