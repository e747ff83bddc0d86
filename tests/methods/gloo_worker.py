"""One process of tests/methods/test_methods_distributed.py: one step of every method on this process' share of a batch.

Usage: gloo_worker.py RANK WORLD_SIZE INIT_FILE OUT.pt
"""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace

import torch
import torch.distributed as dist
from conftest import CASES, MORE_VIEWS, make_batch, seeded_step, tiny_method
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import convert_sync_batchnorm


def share(batch: ViewBatch, rank: int, world: int) -> ViewBatch:
    rows = {f.name: v.chunk(world)[rank] for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    return replace(batch, **rows)


def run(name: str, rank: int, world: int) -> dict[str, Tensor]:
    method = tiny_method(name).double().train()
    if world > 1:
        method = convert_sync_batchnorm(method)
    out = seeded_step(method, share(make_batch(8, views=method.views), rank, world))
    out.loss.backward()
    result = {"loss": out.loss.detach(), **{f"terms.{k}": v for k, v in out.terms.items()}}
    for key, parameter in method.named_parameters():
        if not parameter.requires_grad:  # a teacher's
            continue
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if world > 1:  # what DistributedDataParallel does
            dist.all_reduce(gradient)
            gradient /= world
        result[f"gradient.{key}"] = gradient
    result.update({f"buffer.{key}": buffer for key, buffer in method.named_buffers()})
    return result


def main() -> None:
    rank, world, init_file, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=world)
    torch.save({name: run(name, rank, world) for name in [*CASES, *MORE_VIEWS]}, out)
    if world > 1:
        dist.destroy_process_group()
    os._exit(0)  # the result is written; taking gloo's threads down can abort the interpreter, rarely


if __name__ == "__main__":
    main()
