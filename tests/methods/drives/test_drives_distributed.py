"""Two gloo processes give the loss, terms, gradients and statistics of one process on the joined batch of scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from drive_cases import CASES, make_pair, take, tiny_drive_method
from torch import Tensor

from equissl.encoders import convert_sync_batchnorm


def run(name: str, rank: int, world: int) -> dict[str, Tensor]:
    method = tiny_drive_method(name).double().train()
    if world > 1:
        method = convert_sync_batchnorm(method)
    out = method.step(take(make_pair(points=90), rank, world))
    out.loss.backward()
    result = {"loss": out.loss.detach(), **{f"terms.{key}": value for key, value in out.terms.items()}}
    for key, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad.clone()
        if world > 1:  # what DistributedDataParallel does
            dist.all_reduce(gradient)
            gradient /= world
        result[f"gradient.{key}"] = gradient
    method.after_step(0, 2)
    result.update({f"buffer.{key}": buffer for key, buffer in method.named_buffers()})
    return result


def worker(rank: int, world: int) -> dict[str, Any]:
    return {name: run(name, rank, world) for name in CASES}


@pytest.fixture(scope="module")
def ranks(two_processes: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return two_processes(__file__)


@pytest.mark.slow  # starts two processes
def test_two_processes_equal_one_on_the_joined_batch(drive_case: str, ranks: list[dict[str, Any]]) -> None:
    one = run(drive_case, 0, 1)
    gradients = [value for key, value in one.items() if key.startswith("gradient.")]
    assert sum(bool(g.abs().max() > 0) for g in gradients) > 0.9 * len(gradients)  # a test of zeros would prove nothing
    assert any(key.startswith("buffer.") and key.endswith("running_var") for key in one)
    scale = max(float(g.abs().max()) for g in gradients)
    for rank in ranks:
        assert rank[drive_case].keys() == one.keys()
        for key, expected in one.items():
            atol = 1e-9 * (scale if key.startswith("gradient.") else 1)
            torch.testing.assert_close(
                rank[drive_case][key], expected, rtol=1e-7, atol=atol, msg=lambda m, k=key: f"{k}: {m}"
            )
