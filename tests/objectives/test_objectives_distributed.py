"""Every objective by name: two processes take the steps of one, with the same loss, gradients and state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from equissl.losses import gather
from equissl.objectives import OBJECTIVES, Embedded, create_objective

BATCH, VIEWS, DIM, STEPS = 12, 2, 6, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "groco": {"hardest": 3},
    "hydra": {"classes": 5, "width": 8, "hidden": 8, "ungated": 0.5, "sparsity": 0.1},
    "inter_clr": {"samples": 24, "clusters": 3, "min_members": 2, "queue": 24, "negatives": 4, "pool_size": 8},
    "moco": {"queue": 20},
    "mochi": {"queue": 20, "hardest": 8, "mixed": 4, "query_mixed": 2},
    "sep_clr": {"background": [0]},
    "swav": {"prototypes": 5, "queue": 20, "freeze": 2},
    "w_mse": {"eps": 0.1, "chunk": 6},
    "whitened_cse": {"groups": 2},
}


def draw(step: int, views: int = VIEWS) -> dict[str, Tensor]:
    """A global batch: every field of `Embedded`, instances in a new order at each step."""
    generator = torch.Generator().manual_seed(step)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rotations = torch.linalg.qr(normal(BATCH, views, 3, 3)).Q
    order = torch.randperm(24, generator=generator)[:BATCH] if step else torch.arange(BATCH)
    return {
        "z": normal(BATCH, views, DIM),
        "teacher": normal(BATCH, views, DIM),
        "labels": order % 3,
        "samples": order if step % 2 else (order + 12) % 24,
        "group_ids": order % 2,
        "rotations": rotations * torch.linalg.det(rotations)[..., None, None],
        "hues": normal(BATCH, views, 2),
        "source": normal(BATCH, DIM),
    }


def train(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """Losses and gradients of a few steps of gradient descent, and the state at their end."""
    torch.manual_seed(0)
    objective = create_objective(name, DIM, **OPTIONS.get(name, {})).double()
    result: dict[str, Tensor] = {}
    for step in range(STEPS):
        drawn = draw(step, max(VIEWS, objective.fewest_views))
        local = {key: value.chunk(world)[rank].contiguous() for key, value in drawn.items()}
        z = local["z"].requires_grad_()
        gathered = {key: gather(value) for key, value in local.items()}
        loss, _ = objective(Embedded(**{f.name: gathered[f.name] for f in fields(Embedded)}))
        objective.zero_grad()
        loss.backward()
        result[f"{step}.loss"], result[f"{step}.z"] = loss.detach(), gather(z.grad / world)
        for parameter in objective.parameters():
            if world > 1:  # what DistributedDataParallel does
                dist.all_reduce(parameter.grad)
                parameter.grad /= world
            parameter.data -= 0.1 * parameter.grad
        objective.after_step()
    return {**result, **{f"state.{key}": value for key, value in objective.state_dict().items()}}


def worker(rank: int, world: int) -> dict[str, Any]:
    return {name: train(name, rank, world) for name in OBJECTIVES}


@pytest.fixture(scope="module")
def ranks(two_processes: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return two_processes(__file__)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_equal_one(name: str, ranks: list[dict[str, Any]]) -> None:
    expected = train(name, 0, 1)
    assert expected[f"{STEPS - 1}.z"].abs().max() > 1e-4  # a vanishing gradient would agree with anything
    for rank in ranks:
        assert rank[name].keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(rank[name][key], value, rtol=1e-9, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")
