"""Hallucinator: the extrapolation's closed form, the objectives it works on, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from equissl.losses import extrapolate, moco, nt_xent, simsiam
from equissl.objectives import Embedded, Objective, create_objective

DIM = 6
INNER = {
    "nt_xent": {"temperature": 0.3},
    "clip": {},
    "dcl": {},
    "moco": {"queue": 24},
    "mochi": {"queue": 24, "hardest": 8, "mixed": 4, "query_mixed": 2},
    "byol": {"hidden": 8},
    "simsiam": {"hidden": 8},
    "supcon": {},
}


def embedded(batch: int = 12, seed: int = 0) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    z, teacher = torch.randn(2, batch, 2, DIM, generator=generator, dtype=torch.float64)
    return Embedded(z.requires_grad_(), teacher, labels=torch.arange(batch) % 3)


def build(name: str, **options: object) -> Objective:
    torch.manual_seed(0)
    inner = {"name": name, "options": INNER[name]}
    return create_objective("hallucinator", DIM, objective=inner, **options).double()


class Query(nn.Module):
    """The generator that returns the query which it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :DIM]


def test_extrapolation_leaves_the_key() -> None:
    q, k = torch.eye(2, dtype=torch.float64)
    for r in (0.0, 0.05, 0.1):
        t = extrapolate(q, k, r)
        torch.testing.assert_close(t, (1 + r) * q - r * k)
        assert float(t @ k / t.norm()) == pytest.approx(-r / math.sqrt((1 + r) ** 2 + r**2))
    assert float(extrapolate(q, k, 0.1) @ k / extrapolate(q, k, 0.1).norm()) == pytest.approx(-0.0905357, abs=1e-7)
    with pytest.raises(ValueError, match=r"rows and others of the same shape, got \(2,\) and \(1, 2\)"):
        extrapolate(q, k[None], 0.1)


@pytest.mark.parametrize("name", INNER)
def test_generating_the_query_itself_leaves_the_loss(name: str) -> None:
    objective, plain = build(name).eval(), create_objective(name, DIM, **INNER[name]).double().eval()
    plain.load_state_dict({k[10:]: v for k, v in objective.state_dict().items() if k.startswith("objective.")})
    objective.mlp = Query()
    batch = embedded()
    torch.testing.assert_close(objective(batch)[0], plain(batch)[0])


@pytest.mark.parametrize("name", INNER)
def test_all_learn(name: str) -> None:
    objective, batch = build(name), embedded()
    loss, terms = objective(batch)
    loss.backward()
    assert batch.z.grad is not None and batch.z.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in objective.mlp.parameters())
    assert terms.keys() == {name, f"{name}_generated"}
    torch.testing.assert_close(sum(terms.values()) / 2, loss.detach())


def test_losses_are_those_of_generated_queries() -> None:
    batch = embedded()
    a, b = batch.z.detach().unbind(1)
    simclr = build("nt_xent")
    other = simclr.generate(torch.stack([a, b], 1), torch.stack([b, a], 1)).unbind(1)
    simclr.draws.zero_()  # the same share again
    pairs = [(other[0], b), (a, other[1])]
    expected = torch.stack([nt_xent(torch.stack(pair, 1), 0.3) for pair in pairs]).mean()
    torch.testing.assert_close(simclr(batch)[1]["nt_xent_generated"], expected)

    contrast = build("moco", unit_keys=True)
    unit = batch.teacher / batch.teacher.norm(dim=2, keepdim=True)
    queries = contrast.generate(batch.z, unit.flip(1)).flatten(0, 1)
    contrast.draws.zero_()
    negatives = contrast.objective.queue().double()
    expected = moco(queries, batch.teacher.flip(1).flatten(0, 1), negatives, 0.2)
    torch.testing.assert_close(contrast(batch)[1]["moco_generated"], expected.detach())

    siamese = build("simsiam")
    predictions = siamese.objective.queries(batch)
    generated = siamese.generate(predictions, predictions.flip(1))
    siamese.draws.zero_()
    torch.testing.assert_close(siamese(batch)[1]["simsiam_generated"], simsiam(generated, batch.z).detach())


def test_the_queue_gets_each_key_once() -> None:
    objective, batch = build("moco"), embedded(batch=8)
    objective(batch)
    assert int(objective.objective.queue.written) == 16  # two views of eight
    before = objective.objective.queue().clone()
    objective.eval()(batch)
    assert torch.equal(objective.objective.queue(), before)


def test_one_share_for_each_batch_within_its_range() -> None:
    objective = build("nt_xent", extrapolation=0.4)
    objective.mlp = nn.Identity()
    q, k = torch.zeros(3, 2, DIM).double(), -torch.ones(3, 2, DIM).double()
    shares = [objective.generate(q, k)[..., DIM:] for _ in range(40)]
    assert all(torch.equal(share, share[0, 0, 0].expand_as(share)) for share in shares)
    found = torch.stack([share[0, 0, 0] for share in shares])
    assert 0 <= found.min() < 0.1 and 0.3 < found.max() < 0.4 and len(found.unique()) == 40


def test_it_hands_on_what_the_other_needs() -> None:
    assert build("moco").needs == {"teacher"} and build("supcon").needs == {"labels"} and not build("clip").needs
    assert build("byol").momentum == (0.996, 1.0) and build("moco").momentum == (0.999, 0.999)
    assert build("moco").wraps == "moco" and create_objective("moco", DIM, queue=4).wraps is None
    broken = replace(embedded(), z=torch.full((12, 2, DIM), math.nan).double())
    assert build("nt_xent")(broken)[0].isnan()


def test_errors() -> None:
    with pytest.raises(ValueError, match="compares queries with keys, got 'swav'"):
        create_objective("hallucinator", DIM, objective={"name": "swav"})
    with pytest.raises(ValueError, match=r"got \{'nmae': 'moco'\}"):
        create_objective("hallucinator", DIM, objective={"nmae": "moco"})
    with pytest.raises(ValueError, match="'moco' has no option 'quue'"):
        create_objective("hallucinator", DIM, objective={"name": "moco", "options": {"quue": 4}})
    with pytest.raises(ValueError, match="at least 0, got"):
        create_objective("hallucinator", DIM, extrapolation=-0.1)
    with pytest.raises(ValueError, match=r"takes 2..2 views, got 3"):
        build("nt_xent").check_views("hallucinator", 3)
