"""Copies and shards train alike; a checkpoint is the same file whichever wrote it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl.runs import ConfigError, TrainerConfig, load_method, read_checkpoint, read_metrics
from equissl.training import pretrain
from equissl.training.launch import first_machine, join_processes, leave_processes
from equissl.training.strategies import DataParallel, Sharded, Single, create_strategy
from equissl.util.device import process_device
from equissl.util.runfolder import LAST

CPU = torch.device("cpu")


def worker(rank: int, world: int) -> dict[str, Any]:
    """The words of processes to each other, and what agreeing costs."""
    strategy = DataParallel(CPU, TrainerConfig(devices=world))
    largest = strategy.largest([rank, 1 - rank, 5 * rank])
    began = time.perf_counter()
    for _ in range(200):
        strategy.largest([0, 0])
    seconds = (time.perf_counter() - began) / 200
    return {"largest": largest, "ranks": strategy.gather({"rank": rank}), "seconds": seconds}


def test_processes_agree(two_processes) -> None:
    for found in two_processes(__file__):
        assert found["largest"] == [1, 1, 5]
        assert found["ranks"] == [{"rank": 0}, {"rank": 1}]
        assert found["seconds"] < 0.05


def test_one_process_needs_no_group() -> None:
    strategy = create_strategy(CPU, TrainerConfig())
    assert type(strategy) is Single and strategy.largest([3, 0]) == [3, 0] and strategy.gather("a") == ["a"]
    assert not torch.distributed.is_initialized()


def test_shards_need_no_scale_for_half_precision() -> None:
    with pytest.raises(ConfigError, match="bf16 or 32 with strategy fsdp, got 16"):
        Sharded(CPU, TrainerConfig(precision="16"))


def test_another_number_of_processes_is_an_error(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="devices x nodes = 2 processes, got 4"):
        join_processes(CPU, TrainerConfig(devices=2))


def test_a_group_of_one() -> None:
    assert join_processes(CPU, TrainerConfig())
    assert not join_processes(CPU, TrainerConfig())  # in it already
    leave_processes()
    assert not torch.distributed.is_initialized()
    assert process_device("cpu") == CPU


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[007-012,020],cpu1", "gpu007"),
        ("node3", "node3"),
        ("a1,a2", "a1"),
        ("n[4,6]", "n4"),
        ("r[1-2]n[3-4]", "r1n3"),
    ],
)
def test_first_machine_of_a_slurm_list(nodes, first) -> None:
    assert first_machine(nodes) == first


def state(run: Path) -> dict[str, Any]:
    return read_checkpoint(run / LAST)


def assert_same_gradients(one: dict[str, Any], two: dict[str, Any]) -> None:
    """After one step Adam's first moment is a tenth of the gradient; the weights themselves hide its size."""
    pairs = list(zip(one["optimizer"]["state"].values(), two["optimizer"]["state"].values(), strict=True))
    largest = max(float(a["exp_avg"].abs().max()) for a, _ in pairs)
    assert largest > 0 and all(float((a["exp_avg"] - b["exp_avg"]).abs().max()) < 1e-4 * largest for a, b in pairs)


def test_one_process_with_shards_trains_as_one_without(make_config, tmp_path) -> None:
    runs = [make_config(max_steps=1, strategy=name, accumulate=2) for name in ("auto", "fsdp")]
    plain, shards = (state(pretrain(config, tmp_path / config.trainer.strategy)) for config in runs)
    assert plain["state_dict"].keys() == shards["state_dict"].keys()
    assert_same_gradients(plain, shards)


OBJECTIVE = {"name": "byol", "options": {"hidden": 8, "momentum": [0.5, 0.5]}}  # the same whatever the run's length
BYOL = {"encoder": {"width": 4}, "projector": [16], "objective": OBJECTIVE}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [("SIE", None), ("Invariant", BYOL)])
def test_shards_train_as_copies_and_continue(make_config, tmp_path, method, options) -> None:
    """Teachers move in shards as well."""
    both = {"devices": 2, "threads": 1, "log_every": 1}
    runs = [
        pretrain(make_config(method, options, max_steps=1, strategy=name, **both), tmp_path / name)
        for name in ("ddp", "fsdp")
    ]
    copies, shards = (state(run) for run in runs)
    assert read_metrics(runs[1])["train/loss"][0][1] == pytest.approx(
        read_metrics(runs[0])["train/loss"][0][1], rel=1e-5
    )
    for name, value in copies["state_dict"].items():
        assert value.shape == shards["state_dict"][name].shape and type(shards["state_dict"][name]) is torch.Tensor
    assert_same_gradients(copies, shards)
    longer = make_config(method, options, max_steps=4, strategy="fsdp", checkpoint_every=2, **both)
    pretrain(longer, runs[1])
    whole = state(pretrain(longer, tmp_path / "whole"))
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in state(runs[1])["state_dict"].items())
    load_method(runs[1])
