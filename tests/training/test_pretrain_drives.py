"""Training on pairs of sweeps: the right store, nothing lost by a kill, two processes as one, and what is logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl.datasets.drives.config import DrivesData
from equissl.datasets.drives.pairs.dataset import SweepPairs, SweepPairsError
from equissl.datasets.drives.simulated import DriveOptions, simulated_drive
from equissl.datasets.drives.store.writer import write_drives
from equissl.runs import (
    ConfigError,
    MethodConfig,
    OptimConfig,
    PretrainConfig,
    TrainerConfig,
    build_method,
    load_config,
    load_method,
    read_checkpoint,
    read_metrics,
    resolve_config,
    save_config,
)
from equissl.training import pretrain
from equissl.training.data import make_batches, open_dataset
from equissl.training.launch import ProcessError
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.training.schedule import first_beta, learning_rate
from equissl.util.runfolder import LAST

TINY = DriveOptions(beams=10, columns=30, max_range=20.0, dropout=0.0)
GRID = {"point_range": [-12.8, -12.8, -3.0, 12.8, 12.8, 1.0], "voxel_size": [0.8, 0.8, 0.16], "backend": "torch"}
ARGS: dict[str, dict[str, Any]] = {
    "ESSL3D": {"points": {"pairs": 64, "fewest_pairs": 2}},
    "SweepInvariant": {"objective": {"name": "byol", "options": {"hidden": 8}}, "projector": [16, 8]},
}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives of 7 sweeps of at most 300 points; one is held out, so an epoch is 3 batches of 2 pairs."""
    sequences = [simulated_drive(7, 0, number, TINY) for number in (0, 1)]
    path = write_drives(tmp_path_factory.mktemp("scenes") / "scenes.h5", sequences)
    assert max(len(sweep) for sequence in sequences for sweep in sequence) <= 300
    return path


@pytest.fixture
def make_scenes(scenes: Path) -> Callable[..., PretrainConfig]:
    def make(method: str = "ESSL3D", **trainer: Any) -> PretrainConfig:
        settings = {
            "max_steps": 5,
            "precision": "32",
            "accelerator": "cpu",
            "log_every": 2,
            "checkpoint_every": 2,
            "loggers": ["csv"],
        }
        return PretrainConfig(
            MethodConfig(method, {"encoder": dict(GRID), **ARGS[method]}),
            DrivesData(store=str(scenes), batch_size=2, max_points=150),
            OptimConfig(lr=1e-3, weight_decay=0.01, optimizer="adamw", schedule="one_cycle", momentum=(0.95, 0.85)),
            trainer=TrainerConfig(**{**settings, **trainer}),
        )

    return make


class Killed(BaseException):
    pass


class KillAt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Loop, batch: Any) -> None:
        if loop.step == self.step:
            raise Killed


class Recorder(Observer):
    """Learning rate and first beta that each step was taken with."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float]] = []

    def after_batch(self, loop: Loop, batch: Any) -> None:
        group = loop.optimizer.param_groups[0]
        self.taken.append((group["lr"], group["betas"][0]))


def same_weights(a: Path, b: Path) -> bool:
    one, two = (read_checkpoint(run / LAST)["state_dict"] for run in (a, b))
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def rows(run: Path) -> list[tuple[str, ...]]:
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [(s, v, name, value) for s, v, _, name, value in lines if not name.startswith("time/")]


@pytest.mark.parametrize("method", ARGS)
def test_killed_scene_run_continues_to_the_same_bits(make_scenes, tmp_path, method) -> None:
    config = make_scenes(method)
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(5)])  # in the second epoch; the checkpoint is of step 4
    assert same_weights(whole, pretrain(config, tmp_path / "cut"))
    assert rows(whole) == rows(tmp_path / "cut")
    assert all(torch.isfinite(p).all() for p in load_method(whole)[0].parameters())


def test_workers_change_nothing(make_scenes, tmp_path) -> None:
    here, there = make_scenes(max_steps=3), make_scenes(max_steps=3)
    there.data.workers = 2
    assert same_weights(pretrain(here, tmp_path / "here"), pretrain(there, tmp_path / "there"))


def test_log_counts_sweeps_and_probes_are_off(make_scenes, tmp_path) -> None:
    curves = read_metrics(pretrain(make_scenes(max_steps=4, accumulate=2), tmp_path))
    assert curves["sweeps_seen"] == [(1, 8), (2, 16), (4, 32)]  # 2 batches of 2 pairs of 2 sweeps a step
    assert "time/sweeps_per_second" in curves and "views_seen" not in curves
    assert not any(name.startswith("online/") for name in curves)
    assert "collapse/feature_std" in curves
    assert read_checkpoint(tmp_path / LAST)["equissl"]["views"] == 32


def test_each_step_is_taken_at_its_rate(make_scenes, make_config, tmp_path) -> None:
    config, recorder = make_config("VICReg"), Recorder()
    config.optim = make_scenes().optim
    with pytest.raises(Killed):
        pretrain(config, tmp_path, [recorder, KillAt(7)])
    pretrain(config, tmp_path, [resumed := Recorder()])
    expected = [(learning_rate(config.optim, k, 12), first_beta(config.optim, k, 12)) for k in range(12)]
    assert recorder.taken == expected[:7]
    assert resumed.taken == expected[5:]


def test_config_round_trips(make_scenes, tmp_path) -> None:
    config = make_scenes()
    save_config(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml", ["--data.gap", "2", "--data.flow=ego"])
    assert again.data == replace(config.data, kind="drives", gap=2, flow="ego")
    assert again.optim == config.optim
    with pytest.raises(ConfigError, match=r"unknown key 'data.gapp'.*data.gap"):
        load_config(tmp_path / "config.yaml", ["--data.gapp", "2"])


def test_options_reach_the_dataset(make_scenes) -> None:
    config = resolve_config(make_scenes().to_dict())
    held_out = [SweepPairs(config.data.store).pairs[0][0]]
    config.data = replace(config.data, gap=2, flow="ego", max_points=50, val_drives=held_out)
    method = build_method(config.method)
    dataset = open_dataset(config, method)
    assert isinstance(dataset, SweepPairs)
    assert (dataset.gap, dataset.flow, dataset.max_points, dataset.seed) == (2, "ego", 50, config.seed)
    assert {name for name, _, _ in dataset.pairs}.isdisjoint(config.data.val_drives)
    batch = next(iter(make_batches(config, dataset, 0, 1)))
    assert len(batch) == 2 and batch.flow_provider == "ego"
    assert {name for name, _, _ in open_dataset(config, method, "val").pairs} == set(config.data.val_drives)


def test_the_other_kind_of_store_is_named(make_scenes, make_config, tiny_store, tmp_path) -> None:
    config = make_scenes()
    config.data.store = str(tiny_store)
    with pytest.raises(ConfigError, match=r"data.kind is 'drives': expected a drive store, .* is a view store"):
        pretrain(config, tmp_path / "a")
    config = make_config("VICReg")
    config.data.store = make_scenes().data.store
    with pytest.raises(ConfigError, match=r"data.kind is 'views': expected a view store, .* is a drive store"):
        pretrain(config, tmp_path / "b")
    with pytest.raises(ConfigError, match=r"unknown key 'data.gap'"):
        load_config("demo_vicreg", ["--data.gap", "2"])
    with pytest.raises(ConfigError, match=r"VICReg learns from ViewBatch, got data.kind 'drives'.* are ScenePair"):
        load_config("demo_vicreg", ["--data.kind", "drives"])
    with pytest.raises(ConfigError, match=r"unknown kind 'drive' \(did you mean 'drives'\?\)"):
        load_config("demo_vicreg", ["--data.kind", "drive"])
    config = make_scenes()
    config.data.drives = ["nowhere"]
    with pytest.raises(SweepPairsError, match="nowhere"):
        pretrain(config, tmp_path / "d")


def test_runs_of_before_still_continue(make_config, tmp_path) -> None:
    """A checkpoint without the keys that were added since is the same run."""
    pretrain(make_config("VICReg", max_steps=5), tmp_path)
    saved = read_checkpoint(tmp_path / LAST)
    old = saved["equissl"]["config"]
    del old["data"]["live"]
    old["optim"] = {name: old["optim"][name] for name in ("lr", "weight_decay")}
    torch.save(saved, tmp_path / LAST)
    pretrain(make_config("VICReg", max_steps=7), tmp_path)
    assert read_checkpoint(tmp_path / LAST)["equissl"]["step"] == 7


@pytest.mark.slow
def test_two_processes_train_scenes_as_one(make_scenes, tmp_path) -> None:
    one = pretrain(make_scenes(max_steps=1), tmp_path / "one")
    two = pretrain(make_scenes(max_steps=1, devices=2, threads=1), tmp_path / "two")
    expected, found = read_metrics(one), read_metrics(two)
    for name in (name for name in expected if name.startswith("train/")):
        assert found[name][0][1] == pytest.approx(expected[name][0][1], rel=1e-4, abs=1e-6), name
    a, b = (read_checkpoint(run / LAST)["optimizer"]["state"] for run in (one, two))
    largest = max(float(state["exp_avg"].abs().max()) for state in a.values())
    for state_one, state_two in zip(a.values(), b.values(), strict=True):
        difference = float((state_one["exp_avg"] - state_two["exp_avg"]).abs().max())
        assert difference < 1e-3 * float(state_one["exp_avg"].abs().max()) + 1e-5 * largest


@pytest.mark.slow
def test_uneven_batch_of_scenes_is_refused(make_scenes, tmp_path) -> None:
    config = make_scenes(devices=2, threads=1)
    config.data.batch_size = 3
    with pytest.raises(ProcessError, match="multiple of the 2 processes, got 3"):
        pretrain(config, tmp_path)


def test_another_length_bends_the_schedule_and_says_so(make_scenes, make_config, tmp_path, caplog) -> None:
    config = make_config("VICReg", max_steps=2)
    config.optim = make_scenes().optim
    pretrain(config, tmp_path)
    config.trainer.max_steps = 3
    with caplog.at_level("WARNING", logger="equissl"):
        pretrain(config, tmp_path)
    assert "goes on along that of the new length" in caplog.text
