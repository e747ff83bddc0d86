"""Hydra against its closed forms and its definition, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from equissl.losses import draw_partner_classes, hydra, hydra_anchors, similarity

TAU = 0.3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Z, K, G = random(8, 4), random(8, 4, seed=1), random(8, 4, seed=2).sigmoid()
LABELS = torch.tensor([0, 0, 1, 2, 1, 0, 3, 2])
PARTNERS = torch.tensor([1, 0, 2, 0, 4, 3, 3, 1])  # the fifth has no positive


def slow(logits: Tensor) -> Tensor:
    losses = []
    for i, row in enumerate(logits):
        positives = [row[j] for j in range(8) if LABELS[j] == PARTNERS[i]]
        negatives = [row[j] for j in range(8) if LABELS[j] not in (LABELS[i], PARTNERS[i])]
        if positives:
            losses.append(sum((torch.stack([p, *negatives]).logsumexp(0) - p) for p in positives) / len(positives))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("ungated", [None, 0.4])
def test_both_forms_by_their_definition(ungated: float | None) -> None:
    less = 0 if ungated is None else ungated * normalize(Z) @ normalize(K).T
    for form, table in (
        ("cosine", cosine_similarity((Z * G)[:, None], K * G[:, None], dim=2)),
        ("product", torch.einsum("ad,nd->an", normalize(Z) * G**2, normalize(K))),
    ):
        value = hydra(Z, K, LABELS, PARTNERS, G, TAU, form, ungated)
        torch.testing.assert_close(value, slow((table - less) / TAU), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["cosine", "product"])
def test_orthonormal_batch_with_an_open_gate(form: str) -> None:
    eye, labels, tau, batch = torch.eye(5).double(), torch.arange(5), 0.2, 5
    gate = torch.ones(5, 5).double()
    identical = hydra(eye, eye, labels, labels, gate, tau, form)
    assert identical.item() == pytest.approx(math.log1p((batch - 1) * math.exp(-1 / tau)))
    distinct = hydra(eye, eye, labels, labels.roll(1), gate, tau, form)
    assert distinct.item() == pytest.approx(math.log(batch - 1))


def test_what_a_factor_of_the_gates_does() -> None:
    cosine = hydra(Z, K, LABELS, PARTNERS, 0.5 * G, TAU, "cosine")
    torch.testing.assert_close(cosine, hydra(Z, K, LABELS, PARTNERS, G, TAU, "cosine"))
    product = hydra(Z, K, LABELS, PARTNERS, 0.5 * G, TAU / 4)
    torch.testing.assert_close(product, hydra(Z, K, LABELS, PARTNERS, G, TAU))


def test_anchors_without_a_positive_are_left_out() -> None:
    losses, positives = hydra_anchors(Z, K, LABELS, PARTNERS, G)
    assert positives.tolist() == [2, 3, 2, 3, 0, 1, 1, 2] and losses[4] == 0
    torch.testing.assert_close(hydra(Z, K, LABELS, PARTNERS, G), losses[positives > 0].mean())
    z = Z.clone().requires_grad_()
    nobody = hydra(z, K, LABELS, torch.full_like(LABELS, 9), G)
    assert nobody == 0 and torch.autograd.grad(nobody, z)[0].abs().max() == 0


def test_two_classes_leave_no_negative() -> None:
    z, labels = Z.clone().requires_grad_(), torch.arange(8) % 2
    value = hydra(z, K, labels, 1 - labels, G)
    assert value == 0 and torch.autograd.grad(value, z)[0].isfinite().all()


@pytest.mark.parametrize("form", ["cosine", "product"])
def test_gradcheck(form: str) -> None:
    tensors = [x.clone().requires_grad_() for x in (Z, K, G, torch.tensor(0.4).double())]
    assert torch.autograd.gradcheck(lambda z, k, g, alpha: hydra(z, k, LABELS, PARTNERS, g, TAU, form, alpha), tensors)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [x.clone().requires_grad_() for x in (Z, K, G)]
    whole = hydra(*tensors[:2], LABELS, PARTNERS, tensors[2])
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 24)  # three rows a block
    parts = hydra(*tensors[:2], LABELS, PARTNERS, tensors[2])
    torch.testing.assert_close(parts, whole)
    for one, two in zip(torch.autograd.grad(parts, tensors), torch.autograd.grad(whole, tensors), strict=True):
        torch.testing.assert_close(one, two)


def test_pairs_of_classes() -> None:
    labels = torch.arange(6).repeat(500)
    source = torch.Generator().manual_seed(0)
    assert torch.equal(draw_partner_classes(labels, 6, "identical", source), labels)
    arbitrary = draw_partner_classes(labels, 6, "arbitrary", source)
    assert torch.equal(arbitrary.sort().values, labels.sort().values) and not torch.equal(arbitrary, labels)
    distinct = draw_partner_classes(labels, 6, "distinct", source)
    assert (distinct != labels).all()
    counts = torch.bincount(6 * labels + distinct, minlength=36).view(6, 6)
    assert counts.diagonal().abs().max() == 0
    off = counts[~torch.eye(6, dtype=torch.bool)].double()  # 100 expected of each pair
    assert (off - 100).abs().max() < 5 * math.sqrt(100 * 0.8)
    again = draw_partner_classes(labels, 6, "distinct", torch.Generator().manual_seed(3))
    assert torch.equal(again, draw_partner_classes(labels, 6, "distinct", torch.Generator().manual_seed(3)))


def test_errors() -> None:
    with pytest.raises(ValueError, match="'product' or 'cosine', got 'sum'"):
        hydra(Z, K, LABELS, PARTNERS, G, logits="sum")
    with pytest.raises(ValueError, match=r"got \(8, 4\), \(7, 4\), \(8,\), \(8,\)"):
        hydra(Z, K[:7], LABELS, PARTNERS, G)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        hydra(Z, K, LABELS, PARTNERS, G, 0)
    for pairs, classes in (("equal", 4), ("distinct", 1)):
        with pytest.raises(ValueError, match=f"got '{pairs}' and {classes} classes"):
            draw_partner_classes(LABELS, classes, pairs)
