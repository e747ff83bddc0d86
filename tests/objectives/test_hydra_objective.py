"""Hydra as an objective: its terms, its draws, its gate's relations of classes, and bad labels."""

from __future__ import annotations

import pytest
import torch

from equissl.losses import draw_partner_classes, hydra
from equissl.objectives import Embedded, Objective, create_objective

DIM, CLASSES = 6, 4
SMALL = {"classes": CLASSES, "width": 8, "hidden": 16}


def embedded(batch: int = 16, seed: int = 0) -> Embedded:
    z = torch.randn(batch, 2, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Embedded(z.requires_grad_(), labels=torch.arange(batch) % CLASSES)


def build(**options: object) -> Objective:
    torch.manual_seed(0)
    return create_objective("hydra", DIM, **SMALL, **options).double()


@pytest.mark.parametrize("pairs", ["arbitrary", "distinct", "identical"])
@pytest.mark.parametrize("gate", ["sigmoid", "gumbel", "stochastic"])
@pytest.mark.parametrize("combine", ["mean", "product"])
def test_every_choice_learns(pairs: str, gate: str, combine: str) -> None:
    objective, batch = build(pairs=pairs, gate=gate, combine=combine, ungated=0.5, sparsity=0.1), embedded()
    loss, terms = objective(batch)
    loss.backward()
    assert batch.z.grad is not None and batch.z.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in objective.parameters())
    assert 0 < terms["openness"] < 1 and 0 < terms["anchors_with_positives"] <= 1
    torch.testing.assert_close(loss.detach(), terms["hydra"] + 0.1 * terms["openness"])


def test_it_is_the_loss_of_drawn_pairs_and_their_gates() -> None:
    objective, batch = build(pairs="distinct", norm=False, temperature=0.2).eval(), embedded()
    partners = draw_partner_classes(batch.labels, CLASSES, "distinct", torch.Generator().manual_seed(0))
    gates = objective.gate(batch.labels, partners)
    expected = hydra(*batch.z.unbind(1), batch.labels, partners, gates, 0.2)
    torch.testing.assert_close(objective(batch)[0], expected)


def test_sparsity_closes_gates() -> None:
    openness = []
    for weight in (0.0, 5.0):
        objective, batch = build(sparsity=weight, gate="stochastic"), embedded()
        optimiser = torch.optim.Adam(objective.parameters(), lr=0.02)
        for _ in range(30):
            optimiser.zero_grad()
            objective(batch)[0].backward()
            optimiser.step()
        openness.append(float(objective.eval().class_relations().mean()))
    assert openness[1] < 0.5 * openness[0]


def test_relations_are_those_of_unordered_pairs() -> None:
    objective = build()
    objective(embedded())
    relations = objective.eval().class_relations()
    assert relations.shape == (CLASSES, CLASSES) and not relations.requires_grad
    torch.testing.assert_close(relations, relations.T)
    one, two = torch.tensor([1]), torch.tensor([3])
    torch.testing.assert_close(relations[1, 3], objective.gate(one, two).mean())


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"labels in 0..3 \(classes=4\), got 0..5"):
        build()(Embedded(torch.randn(6, 2, DIM).double(), labels=torch.arange(6)))
    with pytest.raises(ValueError, match="needs labels"):
        build()(Embedded(torch.randn(6, 2, DIM).double()))
    for wrong in ({"pairs": "any"}, {"logits": "sum"}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong.values()))}'"):
            build(**wrong)
    with pytest.raises(ValueError, match="sparsity of at least 0, got -1"):
        build(sparsity=-1)
