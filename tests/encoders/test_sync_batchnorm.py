"""Conversion of batch-norm layers; statistics over processes are tested with whole methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from equissl.encoders import SyncBatchNorm, convert_sync_batchnorm


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'init'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def net() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4 * 36)))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.double()


def test_converts_every_layer_and_keeps_parameters_and_mode() -> None:
    model = net()
    model[2].eval()
    parameters, buffers, keys = list(model.parameters()), list(model.buffers()), list(model.state_dict())
    assert convert_sync_batchnorm(model) is model
    assert [type(m) for m in model.modules()].count(SyncBatchNorm) == 2
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert list(model.state_dict()) == keys
    assert model[1].training and not model[2][1].training
    first = model[1]
    assert convert_sync_batchnorm(model)[1] is first  # nothing left to do
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm1d(3)), SyncBatchNorm)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_process_equals_plain_batch_norm(one_process_group: None, momentum: float | None) -> None:
    plain = net()
    plain[1].momentum = momentum
    synced = convert_sync_batchnorm(copy.deepcopy(plain))
    for _ in range(2):
        x = 100 + torch.randn(5, 3, 8, 8).double()  # far from zero
        results = []
        for model in (plain, synced):
            out = model(x)
            results.append([out, *torch.autograd.grad(out.sin().sum(), list(model.parameters()))])
        for ours, expected in zip(results[1], results[0], strict=True):
            torch.testing.assert_close(ours, expected)
    for ours, expected in zip(synced.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, expected)
    x = torch.randn(5, 3, 8, 8).double()
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x))


def test_without_a_process_group_it_is_plain_batch_norm() -> None:
    plain = net()
    synced = convert_sync_batchnorm(copy.deepcopy(plain))
    x = torch.randn(5, 3, 8, 8).double()
    torch.testing.assert_close(synced(x), plain(x))


def test_layers_without_affine_or_running_statistics(one_process_group: None) -> None:
    plain = nn.BatchNorm1d(4, affine=False, track_running_stats=False)
    x = torch.randn(6, 4)
    torch.testing.assert_close(convert_sync_batchnorm(copy.deepcopy(plain)).eval()(x), plain.eval()(x))
