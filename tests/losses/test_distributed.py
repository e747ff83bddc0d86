"""Two gloo processes must give the value and the gradient of one process on the joined batch, for every loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from loss_cases import CASES, DIM, seeded
from torch import Tensor, nn

from equissl.losses import FeatureQueue, LogitScale, Prototypes, all_reduce_mean, clip, gather, mean_entropy_gap, swav

BATCH, VIEWS = 16, 3
Evaluate = Callable[[Tensor, nn.ModuleDict], Tensor]

# Local embeddings (and modules with parameters) to the loss; the table of all losses is gathered as it is.
LOCAL: dict[str, Evaluate] = {
    **{name: lambda z, _, loss=case.loss: loss(gather(z)) for name, case in CASES.items()},
    "clip_learnable_scale": lambda z, modules: clip(gather(z), modules["scale"]()),
    "swav_prototypes": lambda z, modules: swav(gather(modules["prototypes"](z))),
    "mean_entropy_reduced": lambda z, _: mean_entropy_gap(all_reduce_mean(z[:, 0].softmax(1).mean(0))),
}


class _Model(nn.Module):
    """Parameters of encoder and loss in one module, because DistributedDataParallel only averages its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, DIM))
        self.modules_of_losses = nn.ModuleDict({"scale": LogitScale(0.3), "prototypes": Prototypes(DIM, 6)})

    def forward(self, x: Tensor, evaluate: Evaluate) -> Tensor:
        return evaluate(self.layers(x), self.modules_of_losses)


def evaluate(rank: int, world: int) -> dict[str, Tensor]:
    """Value, and gradient after the averaging of DistributedDataParallel, of every case on this process' share."""
    torch.manual_seed(0)
    model = _Model().double()
    views = torch.randn(BATCH, VIEWS, 5, dtype=torch.float64).chunk(world)[rank]
    ddp = model if world == 1 else nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    out: dict[str, Tensor] = {}
    for name, case in LOCAL.items():
        model.zero_grad(set_to_none=False)
        loss = ddp(views, case)
        loss.backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
        out[name] = torch.cat([loss.detach()[None], *(gradient.flatten() for gradient in gradients)])
    queue = FeatureQueue(10, (VIEWS, 5), seeded(4))
    queue.enqueue(gather(views))
    return {**out, "queue": queue()}


def adjoint(rank: int) -> dict[str, Tensor]:
    """Losses that differ between processes: loss_r = sum(w_r * gathered)."""
    x = torch.arange(6, dtype=torch.float64).reshape(3, 2) + 100 * rank
    out = {}
    for name, function, rows in (("gather", gather, 6), ("all_reduce_mean", all_reduce_mean, 3)):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        weights = torch.arange(rows * 2, dtype=torch.float64).reshape(rows, 2) ** (rank + 1)
        (weights * value).sum().backward()
        out[f"{name}/value"], out[f"{name}/grad"] = value.detach(), leaf.grad
    out["labels"] = gather(torch.tensor([rank, rank + 10]))
    return out


def uneven(rank: int) -> str:
    try:
        gather(torch.zeros(3 - rank, 2))
    except ValueError as error:
        return str(error)
    return "no error"


def worker(rank: int, world: int) -> dict:
    return {"cases": evaluate(rank, world), "adjoint": adjoint(rank), "uneven": uneven(rank)}


@pytest.fixture(scope="module")
def ranks(two_processes: Callable[[str], list[dict]]) -> list[dict]:
    return two_processes(__file__)


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return evaluate(0, 1)


@pytest.mark.parametrize("name", LOCAL)
def test_two_processes_equal_one(ranks: list[dict], alone: dict[str, Tensor], name: str) -> None:
    assert alone[name][1:].abs().max() > 1e-4  # a vanishing gradient would agree with anything
    for rank in ranks:
        torch.testing.assert_close(rank["cases"][name], alone[name], rtol=1e-9, atol=1e-11)


def test_parameters_of_losses_have_a_gradient(alone: dict[str, Tensor]) -> None:
    """The model's last parameters: one scale, and 6 prototypes."""
    assert alone["clip_learnable_scale"][-6 * DIM - 1].abs() > 1e-4
    assert alone["swav_prototypes"][-6 * DIM :].abs().max() > 1e-4


def test_every_process_holds_the_same_queue(ranks: list[dict], alone: dict[str, Tensor]) -> None:
    for rank in ranks:
        torch.testing.assert_close(rank["cases"]["queue"], alone["queue"])


def test_gather_backward_sums_over_processes_and_returns_the_local_rows(ranks: list[dict]) -> None:
    base = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    weights = torch.arange(12, dtype=torch.float64).reshape(6, 2)
    for number, rank in enumerate(ranks):
        result = rank["adjoint"]
        assert torch.equal(result["gather/value"], torch.cat((base, base + 100)))
        assert torch.equal(result["gather/grad"], (weights + weights**2)[3 * number : 3 * number + 3])
        assert torch.equal(result["labels"], torch.tensor([0, 10, 1, 11]))


def test_all_reduce_mean_is_its_own_adjoint(ranks: list[dict]) -> None:
    base = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    for rank in ranks:
        assert torch.equal(rank["adjoint"]["all_reduce_mean/value"], base + 50)
        assert torch.equal(rank["adjoint"]["all_reduce_mean/grad"], (base + base**2) / 2)


def test_uneven_batches_raise_on_every_process(ranks: list[dict]) -> None:
    for rank in ranks:
        assert "(3, 6) on rank 0, (2, 4) on rank 1" in rank["uneven"]


def test_one_process_gets_its_own_tensor_back() -> None:
    x = torch.zeros(3, 2, requires_grad=True)
    assert gather(x) is x and all_reduce_mean(x) is x
    with pytest.raises(ValueError, match="got a scalar"):
        gather(torch.tensor(1.0))
