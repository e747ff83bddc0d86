"""Sinkhorn codes, prototypes and SwAV against closed forms and lightly."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.losses.prototypes import Prototypes, sinkhorn
from equissl.losses.swav import swav

SCORES = torch.rand(12, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
FLAT = SCORES[:, 0]


def test_codes_are_distributions_and_balance_in_the_limit() -> None:
    codes = sinkhorn(FLAT)
    torch.testing.assert_close(codes.sum(1), torch.ones(12).double())
    assert (codes.sum(0) - 12 / 7).abs().max() > 1e-6  # three iterations are not the limit
    torch.testing.assert_close(sinkhorn(FLAT, 0.5, 300).sum(0), torch.full((7,), 12 / 7).double())


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_codes_closed_forms(iterations: int) -> None:
    uniform = torch.full((6, 4), 0.25).double()
    for collapsed in (torch.zeros(6, 4).double(), FLAT[:1, :4].expand(6, 4)):
        torch.testing.assert_close(sinkhorn(collapsed, iterations=iterations), uniform)
    codes = sinkhorn(torch.eye(4).double(), 0.5, iterations)
    torch.testing.assert_close(codes.diagonal(), torch.full((4,), math.e**2 / (math.e**2 + 3)).double())


def test_codes_ignore_a_prototypes_constant_but_not_a_samples() -> None:
    torch.testing.assert_close(sinkhorn(FLAT + torch.linspace(-3, 3, 7)), sinkhorn(FLAT))
    assert not torch.allclose(sinkhorn(FLAT + torch.linspace(-3, 3, 12)[:, None]), sinkhorn(FLAT), atol=1e-3)


@pytest.mark.parametrize("iterations", [1, 4, 5, 9, 40])
@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.005])
def test_codes_are_the_alternating_normalisations(iterations: int, epsilon: float) -> None:
    """Also where the scales of rows and columns go back into the logits on the way; views do not mix."""
    expected = SCORES / epsilon
    for _ in range(iterations):
        expected = expected.log_softmax(0).log_softmax(-1)
    torch.testing.assert_close(sinkhorn(SCORES, epsilon, iterations), expected.exp(), rtol=1e-8, atol=1e-13)
    single = sinkhorn(SCORES.float(), epsilon, iterations).double()
    torch.testing.assert_close(single, expected.exp(), rtol=2e-4 * max(1, 0.05 / epsilon), atol=1e-6)


@pytest.mark.parametrize("iterations", [3, 9])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_scores_give_broken_codes_in_their_view_only(bad: float, iterations: int) -> None:
    scores = SCORES.clone()
    scores[3, 1, 2] = bad
    codes = sinkhorn(scores, iterations=iterations)
    assert codes[:, 1].isnan().all()
    torch.testing.assert_close(codes[:, [0, 2, 3]], sinkhorn(SCORES, iterations=iterations)[:, [0, 2, 3]])


def test_codes_survive_small_epsilon_and_half_precision() -> None:
    """Plain exponentials overflow float16 at epsilon 0.05 and lose whole samples in float32 at 0.005."""
    for epsilon, dtype in ((0.05, torch.float16), (0.005, torch.float32), (1e-4, torch.bfloat16)):
        codes = sinkhorn(FLAT.to(dtype), epsilon)
        assert codes.dtype == torch.float32
        torch.testing.assert_close(codes.sum(1), torch.ones(12))


@pytest.mark.parametrize("epsilon", [1.0, 0.05, 0.02, 0.005])
def test_both_ways_to_balance_agree(epsilon: float) -> None:
    """A prototype that nobody prefers has vanishing shares; at the smallest epsilon only logarithms see them."""
    scores = FLAT - 0.9 * (torch.arange(7) == 2)
    scores[:, 2] = torch.linspace(-1, -0.5, 12, dtype=torch.float64).square()
    logits = scores / epsilon
    for _ in range(3):
        logits = logits.log_softmax(0).log_softmax(1)
    torch.testing.assert_close(sinkhorn(scores.float(), epsilon).double(), logits.exp(), rtol=1e-3, atol=1e-5)


def test_loss_closed_forms() -> None:
    eye = torch.eye(4).double()[:, None].expand(4, 2, 4)
    assert swav(eye).item() == pytest.approx(0.0001362523, abs=1e-9)
    for collapsed in (torch.ones(6, 3, 5).double(), FLAT[:1, None, :5].expand(6, 3, 5) * 0):
        assert swav(collapsed).item() == pytest.approx(math.log(5))


def test_multi_crop_matches_the_sum_over_pairs() -> None:
    """Two crops assign; each meets the three other crops, large and small."""
    log_p = (SCORES / 0.1).log_softmax(-1)
    terms = [-(sinkhorn(SCORES[:, a]) * log_p[:, v]).sum(1).mean() for a in (0, 1) for v in range(4) if v != a]
    torch.testing.assert_close(swav(SCORES), torch.stack(terms).mean())


def test_no_gradient_through_the_codes() -> None:
    scores = SCORES.clone().requires_grad_()
    swav(scores, assign=1).backward()
    assert scores.grad[:, 0].abs().max() == 0 < scores.grad[:, 1:].abs().min()


@pytest.mark.parametrize("assign", [1, 2, 4])
def test_gradient_is_that_of_the_sum_over_pairs(assign: int) -> None:
    scores = SCORES.clone().requires_grad_()
    log_p = (scores / 0.1).log_softmax(-1)
    codes = sinkhorn(SCORES)
    pairs = [(a, v) for a in range(assign) for v in range(4) if v != a]
    expected = torch.stack([-(codes[:, a] * log_p[:, v]).sum(1).mean() for a, v in pairs]).mean()
    value = swav(scores, assign)
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(3 * loss, scores)[0] for loss in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_queue_only_balances_the_codes() -> None:
    queue = torch.rand(20, 2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_p = (SCORES[:, :2] / 0.1).log_softmax(-1)
    codes = [sinkhorn(torch.cat((SCORES[:, a], queue[:, a])))[:12] for a in (0, 1)]
    expected = -((codes[0] * log_p[:, 1]).sum(1).mean() + (codes[1] * log_p[:, 0]).sum(1).mean()) / 2
    torch.testing.assert_close(swav(SCORES[:, :2], queue_scores=queue), expected)
    with pytest.raises(ValueError, match=r"queue_scores of shape \(M, 2, 7\), got \(20, 7\)"):
        swav(SCORES, queue_scores=queue[:, 0])


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss.swav_loss", reason="lightly is only an oracle")
    torch.testing.assert_close(sinkhorn(FLAT), lightly.sinkhorn(FLAT), rtol=1e-6, atol=1e-12)
    views = list(SCORES.unbind(1))
    value = lightly.SwaVLoss()(views[:2], views[2:])  # of shape (1,) there
    assert swav(SCORES).item() == pytest.approx(value.item(), rel=1e-6)


def test_prototypes_stay_on_the_sphere() -> None:
    prototypes = Prototypes(dim=5, count=3)
    embeddings = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(prototypes.parameters(), lr=1.0, weight_decay=0.1)
    prototypes(embeddings).square().sum().backward()
    optimiser.step()
    assert (prototypes.weight.norm(dim=1) - 1).abs().max() > 1e-3
    prototypes.normalize_()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(3))
    cosine = torch.nn.functional.cosine_similarity(embeddings[:, :, None], prototypes.weight, dim=-1)
    torch.testing.assert_close(prototypes(embeddings), cosine)
    assert prototypes(embeddings.bfloat16()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"embeddings of width 5, got \(4, 2, 3\)"):
        prototypes(embeddings[..., :3])
    with pytest.raises(ValueError, match="at least 2 prototypes, got dim 5 and 1"):
        Prototypes(5, 1)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\(B, K\) or \(B, V, K\) with B >= 2, got \(1, 7\)"):
        sinkhorn(FLAT[:1])
    with pytest.raises(ValueError, match="positive epsilon and iterations, got 0 and 3"):
        sinkhorn(FLAT, epsilon=0)
    with pytest.raises(ValueError, match=r"assign in 1..4 and a positive temperature, got 5"):
        swav(SCORES, assign=5)
