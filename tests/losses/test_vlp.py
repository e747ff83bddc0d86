"""The improved baselines of vision-language pretraining against closed forms and their definitions written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from equissl.losses import (
    bar_lip,
    barlow_twins,
    byol_lip,
    clip,
    local_clip,
    siam_lip,
    sinkhorn,
    swa_lip,
    swa_lip_batch,
    swav,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES, TEXTS = random(2, 6, 3, 5)
PAIRS = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]  # the clean pair, and all augmented ones
ORTHONORMAL = torch.eye(4, dtype=torch.float64)[:, None]


def test_local_clip_without_augmentations_is_clip() -> None:
    found = local_clip(IMAGES[:, :1], TEXTS[:, :1], 0.2, smoothing=0.1)
    torch.testing.assert_close(found, clip(torch.stack([IMAGES[:, 0], TEXTS[:, 0]], dim=1), 0.2))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_local_clip_is_the_definition(smoothing: float) -> None:
    """torch's own label smoothing is the oracle."""

    def pair(i: int, j: int, smoothing: float) -> Tensor:
        logits = normalize(IMAGES[:, i]) @ normalize(TEXTS[:, j]).T / 0.2
        own = torch.arange(6)
        both = (cross_entropy(x, own, label_smoothing=smoothing) for x in (logits, logits.T))
        return sum(both) / 2

    local = sum(pair(i, j, smoothing) for i, j in PAIRS[1:]) / 4
    torch.testing.assert_close(local_clip(IMAGES, TEXTS, 0.2, smoothing), (pair(0, 0, 0.0) + 2 * local) / 3)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0.0), (3.0, 0.0), (-1.0, 4.0)])
def test_siam_lip_of_aligned_and_opposite_pairs(factor: float, expected: float) -> None:
    same = IMAGES[:, :1].expand(-1, 3, -1)
    assert siam_lip(same, same, factor * same, factor * same).item() == pytest.approx(expected, abs=1e-12)


def test_siam_lip_is_the_definition() -> None:
    image_targets, text_targets = random(2, 6, 3, 5, seed=1)
    terms = [
        (2 - 2 * cosine_similarity(IMAGES[:, i], text_targets[:, j])).mean()
        + (2 - 2 * cosine_similarity(TEXTS[:, j], image_targets[:, i])).mean()
        for i, j in PAIRS
    ]
    found = siam_lip(IMAGES, TEXTS, image_targets, text_targets)
    torch.testing.assert_close(found, torch.stack(terms).mean() / 2)
    assert torch.equal(byol_lip(IMAGES, TEXTS, image_targets, text_targets), found)


def test_targets_have_no_gradient() -> None:
    inputs = [x.clone().requires_grad_() for x in (IMAGES, TEXTS, IMAGES, TEXTS)]
    gradients = torch.autograd.grad(siam_lip(*inputs), inputs, allow_unused=True)
    assert all(x is not None for x in gradients[:2]) and gradients[2] is gradients[3] is None


def test_bar_lip_of_equal_decorrelated_projections_is_nothing_and_collapse_costs_its_dimensions() -> None:
    codes = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double()[:, None].expand(-1, 3, -1)
    assert bar_lip(codes, codes).item() == pytest.approx(0, abs=1e-9)
    constant = torch.ones(4, 3, 7, dtype=torch.float64)
    assert bar_lip(constant, constant).item() == pytest.approx(0.025 * 7)


def test_bar_lip_is_the_mean_of_barlow_twins_over_pairs() -> None:
    terms = [barlow_twins(torch.stack([IMAGES[:, i], TEXTS[:, j]], dim=1), 5e-3) for i, j in PAIRS]
    torch.testing.assert_close(bar_lip(IMAGES, TEXTS), 0.025 * torch.stack(terms).mean())


def test_swa_lip_is_swapped_prediction_over_pairs() -> None:
    terms = [swav(torch.stack([IMAGES[:, i], TEXTS[:, j]], dim=1)) for i, j in PAIRS]
    torch.testing.assert_close(swa_lip(IMAGES, TEXTS), torch.stack(terms).mean())
    constant = torch.zeros(6, 3, 5)
    assert swa_lip(constant, constant).item() == pytest.approx(math.log(5))


def test_swa_lip_of_an_orthonormal_batch() -> None:
    """Scores are the identity: codes e^(1/ε) / (e^(1/ε) + B - 1), and the loss log(e^(1/τ) + B - 1) - code / τ."""
    batch = ORTHONORMAL.expand(-1, 2, -1)
    assert swa_lip_batch(batch, batch).item() == pytest.approx(0.0001362523, abs=1e-10)
    collapsed = torch.ones(4, 2, 3, dtype=torch.float64)
    assert swa_lip_batch(collapsed, collapsed).item() == pytest.approx(math.log(4))


def test_swa_lip_predicts_the_codes_of_the_other_augmentations() -> None:
    images, texts = (normalize(x[:, 1:], dim=2) for x in (IMAGES, TEXTS))
    terms = []
    for i in (0, 1):
        for j in (0, 1):
            scores, logits = images[:, 1 - i] @ texts[:, 1 - j].T, images[:, i] @ texts[:, j].T / 0.1
            terms.append(cross_entropy(logits, sinkhorn(scores)))
            terms.append(cross_entropy(logits.T, sinkhorn(scores.T)))
    torch.testing.assert_close(swa_lip_batch(IMAGES[:, 1:], TEXTS[:, 1:]), torch.stack(terms).mean())


def test_gradients_are_the_limit_of_differences() -> None:
    pair = IMAGES.clone().requires_grad_(), TEXTS.clone().requires_grad_()
    targets = random(2, 6, 3, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x, y: local_clip(x, y, 0.4, 0.1), pair)
    assert torch.autograd.gradcheck(lambda x, y: siam_lip(x, y, *targets), pair)
    assert torch.autograd.gradcheck(lambda x, y: bar_lip(x, y, scale=1.0), pair)
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: local_clip(IMAGES, TEXTS, t, 0.1), scale)
    assert torch.autograd.gradcheck(lambda t: swa_lip_batch(IMAGES[:, 1:], TEXTS[:, 1:], t), scale)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: local_clip(IMAGES, TEXTS[:, :2]), r"one shape \(B, 1 \+ A, D\), got \(6, 3, 5\) and \(6, 2, 5\)"),
        (lambda: local_clip(IMAGES[:1], TEXTS[:1]), "at least 2 samples, got 1"),
        (lambda: local_clip(IMAGES, TEXTS, smoothing=1.0), r"smoothing in \[0, 1\), got 1.0"),
        (lambda: siam_lip(IMAGES, TEXTS, IMAGES, TEXTS[1:]), r"predictions and text targets .*\(5, 3, 5\)"),
        (lambda: bar_lip(IMAGES[0], TEXTS[0]), r"BarLIP expected images .*got \(3, 5\)"),
        (lambda: swa_lip_batch(IMAGES, TEXTS), "takes 2 augmentations, got 3"),
        (lambda: swa_lip_batch(IMAGES[:, 1:], TEXTS[:, 1:], 0.0), "positive temperature, got 0.0"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
