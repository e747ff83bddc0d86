"""M3CoL's mixtures, their contrast and the soft CLIP loss against closed forms and the definition written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from equissl.losses import clip, draw_mixing, mix_partners, mixup_contrast, similarity, soft_clip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


MIXED, OTHERS = random(2, 6, 5)
PERMUTATION = torch.tensor([2, 1, 0, 4, 5, 3])  # sample 1 is its own partner
SHARES = torch.tensor([0.7, 0.4, 1.0, 0.0, 0.9, 0.2]).double()


def test_whole_samples_are_clip() -> None:
    found = mixup_contrast(MIXED, OTHERS, PERMUTATION, torch.ones(6), 0.2)
    torch.testing.assert_close(found, clip(torch.stack([MIXED, OTHERS], dim=1), 0.2))


@pytest.mark.parametrize("share", [0.7, 0.5, 0.05])
@pytest.mark.parametrize("batch", [4, 7])
def test_orthonormal_batch(share: float, batch: int) -> None:
    """With n the length of a mixture: log(e^(λ/nτ) + e^((1-λ)/nτ) + B - 2) - n/τ."""
    others, partners = torch.eye(batch, dtype=torch.float64), torch.arange(batch).roll(1)
    shares = torch.full((batch,), share, dtype=torch.float64)
    mixed = mix_partners(others, partners, shares)
    n = math.hypot(share, 1 - share)
    logits = math.exp(share / n / 0.1), math.exp((1 - share) / n / 0.1)
    expected = math.log(sum(logits) + batch - 2) - n / 0.1
    assert mixup_contrast(mixed, others, partners, shares).item() == pytest.approx(expected, rel=1e-9)
    if (share, batch) == (0.7, 4):
        assert expected == pytest.approx(1.5811019541, abs=1e-10)


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("partners", [PERMUTATION, torch.tensor([3, 3, 3, 0, 4, 3])], ids=["permutation", "any"])
@pytest.mark.parametrize("blocked", [False, True])
def test_mixup_contrast_is_the_definition(
    partners: Tensor, renormalise: bool, blocked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 40 if blocked else 2**26)
    targets = torch.zeros(6, 6, dtype=torch.float64)
    for i, (partner, share) in enumerate(zip(partners.tolist(), SHARES.tolist(), strict=True)):
        targets[i, i] += share
        targets[i, partner] += 1 - share  # added: a sample that is its own partner keeps its mass
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6).double())
    logits = normalize(MIXED) @ normalize(OTHERS).T / 0.3
    columns = targets.T / (targets.sum(dim=0).clamp(min=1e-30)[:, None] if renormalise else 1)
    expected = (cross_entropy(logits, targets) + cross_entropy(logits.T, columns)) / 2
    torch.testing.assert_close(mixup_contrast(MIXED, OTHERS, partners, SHARES, 0.3, renormalise), expected)


def test_a_sample_mixed_with_itself_is_itself() -> None:
    alone = torch.arange(6)
    expected = clip(torch.stack([MIXED, OTHERS], dim=1), 0.1)
    torch.testing.assert_close(mixup_contrast(MIXED, OTHERS, alone, SHARES), expected)
    torch.testing.assert_close(mix_partners(MIXED, alone, SHARES), MIXED)


def test_mixing_leaves_its_input_alone() -> None:
    images = random(6, 3, 4, 4)
    before = images.clone()
    mixed = mix_partners(images, PERMUTATION, SHARES)
    assert torch.equal(images, before)
    torch.testing.assert_close(mixed[0], 0.7 * images[0] + 0.3 * images[2])
    torch.testing.assert_close(mixed[3], images[4])


def test_draws() -> None:
    partners, shares = draw_mixing(4000, generator=seeded())
    assert torch.equal(partners.sort().values, torch.arange(4000))
    assert shares.min() >= 0 and shares.max() <= 1
    chosen = shares < 1
    assert chosen.double().mean().item() == pytest.approx(0.5, abs=0.05)  # six deviations
    # Beta(0.15, 0.15): mean 1 / 2, variance 1 / (4 · 1.3)
    assert shares[chosen].mean().item() == pytest.approx(0.5, abs=0.06)
    assert shares[chosen].var().item() == pytest.approx(1 / 5.2, abs=0.02)
    again = draw_mixing(4000, generator=seeded())
    assert torch.equal(again[0], partners) and torch.equal(again[1], shares)
    assert (draw_mixing(50, mixed=0.0)[1] == 1).all()


def test_soft_clip_of_orthonormal_and_collapsed_batches() -> None:
    z = torch.eye(5, dtype=torch.float64)
    p = math.exp(8) / (math.exp(8) + 4)
    q = (1 - p) / 4
    entropy = -p * math.log(p) - 4 * q * math.log(q)
    assert soft_clip(z, z).item() == pytest.approx(entropy, rel=1e-9)
    assert soft_clip(z.roll(1, 0), z).item() > entropy + 1
    assert soft_clip(torch.ones(5, 3), torch.ones(5, 3)).item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("blocked", [False, True])
def test_soft_clip_is_the_definition(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 40 if blocked else 2**26)
    x, y = normalize(MIXED), normalize(OTHERS)
    targets = (y @ y.T / 0.3).softmax(dim=1)
    expected = (cross_entropy(x @ y.T / 0.3, targets) + cross_entropy(y @ x.T / 0.3, targets)) / 2
    torch.testing.assert_close(soft_clip(MIXED, OTHERS, 0.3), expected)


@pytest.mark.parametrize("blocked", [False, True])
def test_gradients_are_the_limit_of_differences(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 40 if blocked else 2**26)
    pair = MIXED.clone().requires_grad_(), OTHERS.clone().requires_grad_()
    for renormalise in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, y, flag=renormalise: mixup_contrast(x, y, PERMUTATION, SHARES, 0.4, flag), pair
        )
    assert torch.autograd.gradcheck(lambda x, y: soft_clip(x, y, 0.4), pair)
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: soft_clip(MIXED, OTHERS, t), temperature)
    assert torch.autograd.gradcheck(lambda t: mixup_contrast(MIXED, OTHERS, PERMUTATION, SHARES, t), temperature)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_mixing(0), r"at least 1 sample and a chance in \[0, 1\], got 0 and 0.5"),
        (lambda: draw_mixing(4, 0.0), "concentration above 0, got 0.0"),
        (lambda: mix_partners(MIXED.long(), PERMUTATION, SHARES), r"floating x .*got torch.int64 \(6, 5\)"),
        (lambda: mix_partners(MIXED, PERMUTATION, SHARES[1:]), r"\(6,\) and \(5,\)"),
        (lambda: mixup_contrast(MIXED, OTHERS, PERMUTATION[1:], SHARES), r"partners and shares \(6,\), got \(5,\)"),
        (lambda: mixup_contrast(MIXED, OTHERS[:, 1:], PERMUTATION, SHARES), r"got \(6, 5\) and \(6, 4\)"),
        (lambda: mixup_contrast(MIXED, OTHERS, PERMUTATION, SHARES, -1.0), "positive temperature, got -1.0"),
        (lambda: soft_clip(MIXED[:1], OTHERS[:1]), "at least 2 samples, got 1"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
