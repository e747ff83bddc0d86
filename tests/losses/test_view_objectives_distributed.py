"""Two gloo processes give the value and gradient of one process, for every objective over gathered (B, V, D).

This file is also the worker: pytest starts it twice as a script.
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

from equissl.losses import gather
from equissl.losses.align_uniform import align_uniform
from equissl.losses.barlow_twins import barlow_twins
from equissl.losses.cacr import cacr
from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.moco import moco
from equissl.losses.negative_cosine import byol, simsiam
from equissl.losses.prototypes import Prototypes
from equissl.losses.swav import swav
from equissl.losses.vicreg_objective import vicreg
from equissl.losses.w_mse import w_mse

BATCH, WORLD, VIEWS, DIM = 16, 2, 3, 4


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CASES = {
    "barlow_twins": lambda z: barlow_twins(gather(z)),
    "vicreg": lambda z: vicreg(gather(z)),
    "w_mse": lambda z: w_mse(gather(z)),
    "w_mse_chunks": lambda z: w_mse(gather(z), chunk=8, iterations=2, generator=_seeded(3)),
    "align_uniform": lambda z: align_uniform(gather(z)),
    "byol": lambda z: byol(gather(z), gather(z.detach() + 1)),
    "simsiam": lambda z: simsiam(gather(z), gather(z)),
    "swav": lambda z: swav(gather(z)),
    "cacr": lambda z: cacr(gather(z)),
    "moco": lambda z: moco(gather(z[:, 0]), gather(z[:, 1]), FeatureQueue(10, DIM, _seeded(4))().double()),
}


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, DIM))
        self.prototypes = Prototypes(DIM, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.layers(x)
        return z, self.prototypes(z)


def evaluate(rank: int, world: int) -> dict[str, Tensor]:
    """Value, and gradient after the averaging of DistributedDataParallel, of every case on this process' share."""
    torch.manual_seed(0)
    model = _Model().double()
    views = torch.randn(BATCH, VIEWS, 5, dtype=torch.float64).chunk(world)[rank]
    ddp = model if world == 1 else nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    out: dict[str, Tensor] = {}
    for name, case in CASES.items():
        model.zero_grad(set_to_none=False)
        z, scores = ddp(views)
        loss = case(scores if name == "swav" else z)
        loss.backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
        out[name] = torch.cat([loss.detach()[None], *(gradient.flatten() for gradient in gradients)])
    queue = FeatureQueue(10, (VIEWS, DIM), _seeded(4))
    queue.enqueue(gather(z.detach()))
    out["queue"] = queue()
    return out


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'init'}", rank=rank, world_size=WORLD)
    torch.save(evaluate(rank, WORLD), folder / f"rank{rank}.tmp")
    (folder / f"rank{rank}.tmp").rename(folder / f"rank{rank}.pt")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all((folder / f"rank{r}.pt").exists() for r in range(WORLD)):
        time.sleep(0.01)  # whoever leaves first closes connections that the other may still read from
    os._exit(0)  # both results are written; taking gloo's threads down can abort the interpreter, rarely


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("gloo_views")
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


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return evaluate(0, 1)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(ranks: list[dict[str, Tensor]], alone: dict[str, Tensor], name: str) -> None:
    assert alone[name][1:].abs().max() > 1e-4  # a vanishing gradient would agree with anything
    for rank in ranks:
        torch.testing.assert_close(rank[name], alone[name], rtol=1e-8, atol=1e-10)


def test_every_process_holds_the_same_queue(ranks: list[dict[str, Tensor]], alone: dict[str, Tensor]) -> None:
    for rank in ranks:
        torch.testing.assert_close(rank["queue"], alone["queue"])


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
