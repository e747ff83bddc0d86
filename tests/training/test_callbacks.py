"""Online probes, collapse diagnostics, logs, data and devices, one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from equissl.methods import METHODS, StepOutput, VICReg
from equissl.runs import CollapseConfig, read_metrics
from equissl.runs.log import RunLog
from equissl.training import pretrain
from equissl.training.collapse import collapse_values, crossed, describe_start
from equissl.training.data import make_batches
from equissl.util.device import DeviceError, choose_accelerator, choose_precision
from equissl.util.randomstate import random_state, seed_everything, set_random_state


class Oracle(VICReg):
    """Its representation is the answer: class one-hot, and the view's rotation matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 4 + 9
        self.encoder = torch.nn.Linear(1, 1)

    def step(self, batch) -> StepOutput:
        labels = torch.nn.functional.one_hot(batch.labels, 4).float()[:, None].expand(-1, batch.num_views, -1)
        features = torch.cat([labels, batch.rotations.flatten(2).float()], dim=2).to(torch.bfloat16)
        loss = (self.encoder.weight - 1).square().sum() + self.encoder.bias.square().sum()
        return StepOutput(loss, {}, features)


def test_probes_read_what_is_in_the_features(make_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "Oracle", Oracle)
    config = make_config("Oracle", {}, max_steps=600, log_every=100, checkpoint_every=1000)
    config = replace(config, probes=replace(config.probes, lr=3e-3), collapse=CollapseConfig(every=0))
    curves = read_metrics(pretrain(config, tmp_path))
    assert curves["online/top1"][-1][1] > 0.99
    assert curves["online/r2_uniform"][-1][1] > 0.5
    first, last = curves["online/rotation_mean_deg"][1][1], curves["online/rotation_mean_deg"][-1][1]
    assert last < 30 < first


def output(features: torch.Tensor, gap: dict | None = None) -> StepOutput:
    return StepOutput(torch.tensor(1.0), {"nt_xent": torch.tensor(2.0)}, features, gap)


def test_collapse_values_of_known_features() -> None:
    identical = torch.ones(8, 2, 4)
    values = collapse_values(output(identical))
    assert values["collapse/feature_std"] == 0
    assert values["collapse/rankme"] == pytest.approx(1)
    basis = torch.eye(8).view(4, 2, 8)
    assert collapse_values(output(basis))["collapse/rankme"] == pytest.approx(8)


def test_thresholds() -> None:
    config = CollapseConfig()
    healthy = collapse_values(output(torch.randn(32, 2, 8, generator=torch.Generator().manual_seed(0))))
    assert crossed(healthy, config) == {}
    assert crossed(collapse_values(output(torch.ones(8, 2, 4))), config).keys() == {"std", "rankme"}
    gap = {"equivariance": torch.tensor(1.0), "equivariance_ignored_action": torch.tensor(1.01)}
    values = healthy | {f"collapse/{name}": float(value) for name, value in gap.items()}
    assert crossed(values, config).keys() == {"action"}
    values["collapse/equivariance_ignored_action"] = 1.5
    assert crossed(values, config) == {}


def test_start_line_shows_theory_beside_values() -> None:
    features = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0))
    line = describe_start(output(features), collapse_values(output(features)), 16)
    assert f"log 31 = {math.log(31):.2f}" in line
    assert "RankMe" in line
    assert "of at most 8" in line


def test_a_collapsing_run_warns_once(make_config, tmp_path, caplog) -> None:
    config = make_config(max_steps=8)
    config = replace(config, collapse=CollapseConfig(every=1, warmup=3, std=1e9, rankme=0.0, action_ratio=0.0))
    with caplog.at_level("INFO", logger="equissl"):
        pretrain(config, tmp_path)
    assert caplog.text.count("features hardly vary") == 1
    assert "step 3: features hardly vary" in caplog.text
    assert caplog.text.count("random initialisation:") == 1
    curves = read_metrics(tmp_path)
    assert len(curves["collapse/rankme"]) == 8
    assert len(curves["collapse/equivariance_ignored_action"]) == 8


def test_loss_in_the_log_is_the_mean_since_the_last_row(make_config, tmp_path) -> None:
    fine = read_metrics(pretrain(make_config(log_every=1), tmp_path / "fine"))["train/loss"]
    coarse = read_metrics(pretrain(make_config(log_every=4), tmp_path / "coarse"))["train/loss"]
    values = dict(fine)
    expected = {1: values[1], 4: sum(values[i] for i in (2, 3, 4)) / 3, 8: sum(values[i] for i in (5, 6, 7, 8)) / 4}
    assert [step for step, _ in coarse] == [1, 4, 8, 12]
    assert all(dict(coarse)[step] == pytest.approx(value, rel=1e-5) for step, value in expected.items())


def test_log_drops_what_comes_after_the_resumed_step(tmp_path) -> None:
    log = RunLog(tmp_path)
    log.open(0)
    for step in (1, 2, 3):
        log.write(step, 8 * step, 0.5 * step, {"a": step / 3, "b": -1e-12})
    log.open(2)
    assert read_metrics(tmp_path) == {"a": [(1, 1 / 3), (2, 2 / 3)], "b": [(1, -1e-12), (2, -1e-12)]}


def test_log_of_another_program_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metrics.csv"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="expected the columns step,views"):
        read_metrics(tmp_path)


def test_tensorboard_events_hold_the_same_values(make_config, tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pretrain(make_config(loggers=["tensorboard"]), tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("train/loss")]
    expected = read_metrics(tmp_path)["train/loss"]
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [v for _, v in found] == pytest.approx([v for _, v in expected], rel=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_views_start_at_any_batch(make_config, open_data, workers) -> None:
    config, dataset = open_data(make_config(), workers=workers)

    def take(first: int, number: int) -> list[torch.Tensor]:
        views = make_batches(config, dataset, 0, 1)
        views.seek(first)
        batches = iter(views)
        return [torch.stack([b.objects, *b.views.T]) for b, _ in zip(batches, range(number), strict=False)]

    whole = take(0, 15)  # 6 batches in an epoch
    assert all(torch.equal(a, b) for a, b in zip(take(8, 7), whole[8:], strict=True))
    assert sorted(torch.cat([b[0] for b in whole[6:12]]).tolist()) == list(range(24))
    assert not torch.equal(whole[0], whole[6])


def test_reading_does_not_draw_random_numbers(make_config, open_data) -> None:
    views = make_batches(*open_data(make_config()), 0, 1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    next(iter(views))
    assert torch.equal(before, torch.get_rng_state())


def test_batch_must_divide_over_processes(make_config, open_data) -> None:
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 4"):
        make_batches(*open_data(make_config()), 0, 3)


def test_batch_larger_than_the_split_is_refused(make_config, tmp_path) -> None:
    config = make_config()
    with pytest.raises(ValueError, match="got 24"):
        pretrain(replace(config, data=replace(config.data, batch_size=64)), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error(make_config, tmp_path) -> None:
    with pytest.raises(DeviceError, match="expected a CUDA GPU"):
        pretrain(make_config(accelerator="gpu"), tmp_path)
    assert choose_accelerator("auto") == "cpu"


def test_precision_choice(monkeypatch) -> None:
    for has, expected in ((True, "bf16"), (False, "32")):
        monkeypatch.setattr("equissl.util.device.cpu_has_bf16", lambda has=has: has)
        assert choose_precision("auto", "cpu") == expected
        assert choose_precision("32", "cpu") == "32"
    with pytest.raises(DeviceError, match="needs a GPU"):
        choose_precision("16", "cpu")


@pytest.mark.parametrize("method", ["VICReg", "SimCLR", "SIE", "EquiCaps", "CapsIE", "Supervised"])
def test_every_method_trains_in_bf16(make_config, tmp_path, method) -> None:
    init_args = {"encoder": {"width": 4}}
    init_args |= {"image_size": 32, "capsules": 4} if method in ("EquiCaps", "CapsIE") else {}
    init_args |= {"num_classes": 4, "hidden": 8} if method == "Supervised" else {}
    init_args |= {"projector": [16]} if method in ("VICReg", "SimCLR", "SIE") else {}
    curves = read_metrics(pretrain(make_config(method, init_args, precision="bf16", max_steps=3), tmp_path))
    assert math.isfinite(curves["train/loss"][-1][1])
    assert {"online/top1", "online/r2_uniform", "online/rotation_mean_deg", "collapse/rankme"} <= curves.keys()


def test_random_state_round_trip() -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(3)
    draw()
    state = random_state()
    first = draw()
    draw()
    set_random_state(state)
    assert draw() == first
