"""Objectives by name: every one is built, trains, saves and loads; wrong names and options are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equissl import losses
from equissl.objectives import OBJECTIVES, Embedded, Objective, ObjectiveConfig, create_objective

BATCH, VIEWS, DIM = 12, 2, 6
OPTIONS: dict[str, dict[str, Any]] = {
    "groco": {"hardest": 3},
    "hydra": {"classes": 5, "width": 8, "hidden": 8, "ungated": 0.5, "sparsity": 0.1},
    "inter_clr": {"samples": 40, "clusters": 3, "min_members": 2, "queue": 24, "negatives": 8, "pool_size": 20},
    "moco": {"queue": 24},
    "mochi": {"queue": 24, "hardest": 8, "mixed": 4, "query_mixed": 2},
    "sep_clr": {"background": [0]},
    "swav": {"prototypes": 5},
    "w_mse": {"eps": 0.1},
    "whitened_cse": {"groups": 2},
}


def embedded(seed: int = 0, views: int = VIEWS) -> Embedded:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rotations = torch.linalg.qr(draw(BATCH, views, 3, 3)).Q
    return Embedded(
        z=draw(BATCH, views, DIM).requires_grad_(),
        teacher=draw(BATCH, views, DIM),
        labels=torch.arange(BATCH) % 3,
        samples=torch.arange(BATCH) * 3,
        group_ids=torch.arange(BATCH) % 2,
        rotations=rotations * torch.linalg.det(rotations)[..., None, None],
        hues=draw(BATCH, views, 2),
        source=draw(BATCH, DIM),
    )


def build(name: str, seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    return create_objective(name, DIM, **OPTIONS.get(name, {})).double()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_saves_and_loads(name: str) -> None:
    objective = build(name)
    batch = embedded(views=max(VIEWS, objective.fewest_views))
    for _ in range(3):  # fills queues
        loss, terms = objective(batch)
        objective.after_step()
    assert loss.shape == () and torch.isfinite(loss)
    assert terms and all(not term.requires_grad and term.shape == () for term in terms.values())
    loss.backward()
    assert batch.z.grad.abs().max() > 0
    for key, parameter in objective.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
    other = build(name, seed=1)
    other.load_state_dict(objective.state_dict(), strict=True)
    first, second = objective(batch)[0], other(batch)[0]  # random choices included
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_evaluation_mode_moves_no_state(name: str) -> None:
    objective = build(name).eval()
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    objective(embedded(views=max(VIEWS, objective.fewest_views)))
    after = objective.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_functions_are_the_losses_of_the_same_name() -> None:
    batch = embedded()
    for name, function in [("nt_xent", losses.nt_xent), ("vicreg", losses.vicreg), ("mv_dhel", losses.mv_dhel)]:
        assert torch.equal(build(name)(batch)[0], function(batch.z))
    assert torch.equal(build("supcon")(batch)[0], losses.supcon(batch.z, batch.labels))
    warm = create_objective("nt_xent", DIM, temperature=0.7)
    assert torch.equal(warm(batch)[0], losses.nt_xent(batch.z, temperature=0.7))


def test_unknown_names_and_options_are_errors_that_name_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown objective 'ntxent' \(did you mean 'nt_xent'\?\)"):
        ObjectiveConfig("ntxent").build(4)
    with pytest.raises(ValueError, match=r"'nt_xent' has no option 'temprature' \(did you mean 'temperature'\?\)"):
        create_objective("nt_xent", 4, temprature=0.1)
    with pytest.raises(ValueError, match=r"'swav' has no option 'prototype' \(did you mean 'prototypes'\?\)"):
        create_objective("swav", 4, prototype=3)


def test_number_of_views_is_checked_before_training() -> None:
    with pytest.raises(ValueError, match=r"objective 'nt_xent' takes at least 2 views, got 1"):
        build("nt_xent").check_views("nt_xent", 1)
    build("nt_xent").check_views("nt_xent", 1, small_crops=1)
    with pytest.raises(ValueError, match=r"takes 2..2 views, got 3"):
        build("cosine_prediction").check_views("cosine_prediction", 3)


def test_generators_differ_from_call_to_call_and_repeat_after_loading() -> None:
    objective = build("w_mse")
    first, second = objective.generator(), objective.generator()
    state = {key: value.clone() for key, value in objective.state_dict().items()}
    third = objective.generator()
    draws = [torch.rand(3, generator=g) for g in (first, second, third)]
    assert not torch.equal(draws[0], draws[1])
    objective.load_state_dict(state)
    assert torch.equal(torch.rand(3, generator=objective.generator()), draws[2])


def test_swav_prototypes_stay_frozen_and_on_the_sphere() -> None:
    objective = create_objective("swav", DIM, prototypes=5, freeze=1).double()
    batch, start = embedded(), objective.prototypes.weight.detach().clone()
    for frozen in (True, False):
        objective.zero_grad()
        objective(batch)[0].backward()
        gradient = objective.prototypes.weight.grad
        assert (gradient.abs().max() == 0) == frozen
        with torch.no_grad():
            objective.prototypes.weight -= 0.1 * gradient
        objective.after_step()
        assert torch.allclose(objective.prototypes.weight, start, rtol=0, atol=1e-6) == frozen
    norms = objective.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_swav_uses_its_queue_once_it_is_full() -> None:
    objective = create_objective("swav", DIM, prototypes=5, queue=18).double()
    batch = embedded()
    alone = losses.swav(objective.score(batch.z))
    assert torch.equal(objective(batch)[0], alone)  # 12 of 18 after this
    assert torch.equal(objective(batch)[0], alone)
    past = objective.score(objective.queue())
    assert torch.equal(objective(batch)[0], losses.swav(objective.score(batch.z), queue_scores=past))


def test_byol_and_simsiam_agree_where_the_teacher_is_the_network() -> None:
    batch = embedded()
    byol, simsiam = (
        create_objective("byol", DIM, hidden=4).double(),
        create_objective("simsiam", DIM, hidden=4).double(),
    )
    simsiam.predictor.load_state_dict(byol.predictor.state_dict())
    same = Embedded(batch.z, teacher=batch.z.detach())
    torch.testing.assert_close(byol(same)[0], 4 + 4 * simsiam(same)[0])
