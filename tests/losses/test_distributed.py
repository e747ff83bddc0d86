"""Two gloo processes must give the value and the gradient of one process on the joined batch.

This file is also the worker: pytest starts it twice as a script, which works however pytest imported it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from equissl import losses
from equissl.losses import all_reduce_mean, gather
from equissl.losses.clip import clip, one_way_info_nce
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.nt_xent import nt_xent
from equissl.losses.supcon import supcon

BATCH, WORLD = 8, 2


def _poses(z: Tensor) -> Tensor:
    return z.unflatten(1, (2, 2, 2))


def _views(x: Tensor, y: Tensor) -> Tensor:
    """(B, 3, 8) global batch of three views; the third is a mixture of the other two."""
    return gather(torch.stack((x, y, x.flip(1) + y), dim=1))


def _classes(x: Tensor) -> Tensor:
    """(B,) global labels: four classes, whose members sit on different processes."""
    return gather(torch.arange(len(x)) % 4)


CASES = {
    "invariance": lambda x, y: losses.invariance(gather(x), gather(y)),
    "variance": lambda x, y: losses.variance_hinge(gather(x)) + losses.variance_hinge(gather(y)),
    "covariance": lambda x, y: losses.covariance_penalty(gather(x)) + losses.covariance_penalty(gather(y)),
    "info_nce": lambda x, y: losses.info_nce(gather(x), gather(y)),
    "cross_entropy": lambda x, y: losses.activation_cross_entropy(gather(x.softmax(1)), gather(y.softmax(1))),
    "mean_entropy": lambda x, y: losses.mean_entropy_gap(gather(x.softmax(1))),
    "mean_entropy_reduced": lambda x, y: losses.mean_entropy_gap(all_reduce_mean(x.softmax(1).mean(0))),
    "pose_alignment": lambda x, y: losses.pose_alignment(gather(_poses(x)), gather(_poses(y))),
    "nt_xent": lambda x, y: nt_xent(_views(x, y)),
    "nt_xent_own": lambda x, y: nt_xent(_views(x, y), admitted="own"),
    "one_way_info_nce": lambda x, y: one_way_info_nce(gather(x), gather(y)),
    "clip": lambda x, y: clip(_views(x, y)),
    "dcl": lambda x, y: dcl(_views(x, y)),
    "dclw": lambda x, y: dclw(_views(x, y)),
    "dhel": lambda x, y: dhel(_views(x, y)),
    "mv_info_nce": lambda x, y: mv_info_nce(_views(x, y)),
    "mv_info_nce_cross_view": lambda x, y: mv_info_nce(_views(x, y), negatives="cross_view"),
    "mv_dhel": lambda x, y: mv_dhel(_views(x, y)),
    "supcon": lambda x, y: supcon(_views(x, y), _classes(x)),
    "supcon_inside": lambda x, y: supcon(_views(x, y), _classes(x), average="in"),
    "hard_contrastive": lambda x, y: hard_contrastive(_views(x, y), hardest=3),
}


def evaluate(rank: int, world: int) -> dict[str, Tensor]:
    """Value, and gradient after the averaging of DistributedDataParallel, of every case on this process' share."""
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8)).double()
    views = torch.randn(2, BATCH, 5, dtype=torch.float64).chunk(world, dim=1)[rank]
    ddp = model if world == 1 else nn.parallel.DistributedDataParallel(model)
    out: dict[str, Tensor] = {}
    for name, case in CASES.items():
        model.zero_grad()
        x, y = ddp(views.flatten(0, 1)).chunk(2)
        loss = case(x, y)
        loss.backward()
        out[name] = torch.cat([loss.detach()[None], *(p.grad.flatten() for p in model.parameters())])
    return out


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


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'init'}", rank=rank, world_size=WORLD)
    torch.save(
        {"cases": evaluate(rank, WORLD), "adjoint": adjoint(rank), "uneven": uneven(rank)}, folder / f"rank{rank}.pt"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all((folder / f"rank{r}.pt").exists() for r in range(WORLD)):
        time.sleep(0.01)  # whoever leaves first closes connections that the other may still read from
    os._exit(0)  # both results are written; taking gloo's threads down can abort the interpreter, rarely


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("gloo")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for rank in range(WORLD)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(ranks: list[dict], name: str) -> None:
    expected = evaluate(0, 1)[name]
    assert expected[1:].abs().max() > 1e-4  # a vanishing gradient would agree with anything
    for rank in ranks:
        torch.testing.assert_close(rank["cases"][name], expected, rtol=1e-10, atol=1e-12)


def test_gather_backward_sums_over_processes_and_returns_the_local_rows(ranks: list[dict]) -> None:
    base = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    weights = torch.arange(12, dtype=torch.float64).reshape(6, 2)
    for rank in range(WORLD):
        result = ranks[rank]["adjoint"]
        assert torch.equal(result["gather/value"], torch.cat((base, base + 100)))
        assert torch.equal(result["gather/grad"], (weights + weights**2)[3 * rank : 3 * rank + 3])
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


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
