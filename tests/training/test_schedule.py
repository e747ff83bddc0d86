"""Learning rates against the published values of OneCycle, closed forms, and torch's own schedulers."""

from __future__ import annotations

import pytest
import torch
from pytest import approx

from equissl.datasets.views.config import ViewsData
from equissl.runs import ConfigError, OptimConfig, load_config
from equissl.runs.config import MethodConfig, PretrainConfig, TrainerConfig, check_config
from equissl.training.optimizer import create_optimizer, follow_schedule
from equissl.training.schedule import first_beta, learning_rate, position

ONE_CYCLE = OptimConfig(lr=0.003, schedule="one_cycle", momentum=(0.95, 0.85))


def test_one_cycle_of_detectors_on_kitti() -> None:
    steps = (0, 100, 200, 400, 700, 1000)
    found = [learning_rate(ONE_CYCLE, step, 1000) for step in steps]
    assert found == approx([3.0e-4, 6.9541e-4, 1.65e-3, 3e-3, 1.500015e-3, 3e-8], rel=2e-5)
    momenta = [first_beta(ONE_CYCLE, step, 1000) for step in steps]
    assert momenta == approx([0.95, 0.93536, 0.90, 0.85, 0.90, 0.95], abs=1e-5)


def test_one_cycle_has_the_annealing_of_torch() -> None:
    # torch puts the peak one step earlier, at pct_start * total - 1; the curves on both sides are the same
    anneal = torch.optim.lr_scheduler.OneCycleLR._annealing_cos
    for step in range(11):
        done = step / 10
        value = anneal(3e-4, 3e-3, done / 0.4) if done < 0.4 else anneal(3e-3, 3e-8, (done - 0.4) / 0.6)
        assert learning_rate(ONE_CYCLE, step, 10) == approx(value, rel=1e-9)


def test_cosine_is_that_of_torch() -> None:
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    optim = OptimConfig(lr=0.02, schedule="cosine")
    for step in range(20):
        assert learning_rate(optim, step, 20) == approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()
    assert learning_rate(optim, 20, 20) == 0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_is_linear_and_ends_at_the_rate(schedule: str) -> None:
    optim = OptimConfig(lr=1.0, schedule=schedule, warmup=4)
    assert [learning_rate(optim, step, 10) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert learning_rate(optim, 7, 10) == approx(1.0 if schedule == "constant" else 0.5)


def test_warm_up_and_cosine_of_seq_jepa() -> None:
    """lr(e) = 1e-5 + (4e-4 - 1e-5) e / 20 in the first 20 passes; then half a cosine to 1e-5, as torch has it."""
    optim = load_config("3diebench_seq_jepa").optim
    assert (optim.optimizer, optim.weight_decay, optim.by_epoch) == ("adamw", 1e-3, True)
    assert [learning_rate(optim, e, 1000) for e in (0, 1, 10, 20)] == approx([1e-5, 2.95e-5, 2.05e-4, 4e-4], rel=1e-12)
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=4e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=980, eta_min=1e-5)
    for e in range(20, 1001):
        assert learning_rate(optim, e, 1000) == approx(schedule.get_last_lr()[0], rel=1e-9)
        sgd.step()
        schedule.step()
    assert learning_rate(optim, 1000, 1000) == approx(1e-5)
    released = load_config("3diebench_seq_jepa_released").optim
    assert [learning_rate(released, e, 1000) for e in (0, 20, 500, 999)] == approx([1e-5, 4e-4, 4e-4, 4e-4])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_schedule_by_epoch_moves_once_a_pass(accumulate: int) -> None:
    """82 batches of 512 in a pass over 41,920 objects; a step that spans two passes has the rate of its last batch."""
    optim = OptimConfig(by_epoch=True)
    last = 1000 * 82 // accumulate
    for step in (0, 1, 27, 28, 81, 82, 163, 164, last - 1):
        batch = step * accumulate + accumulate - 1
        assert position(optim, batch, accumulate, last, 82) == (batch // 82, 1000)
        assert position(OptimConfig(), batch, accumulate, last, 82) == (step, last)


def test_defaults_change_nothing() -> None:
    optim = OptimConfig()
    assert {learning_rate(optim, step, 7) for step in range(8)} == {optim.lr}
    assert {first_beta(optim, step, 7) for step in range(8)} == {0.9}


def test_impossible_steps() -> None:
    with pytest.raises(ValueError, match="got -1 and 5"):
        learning_rate(OptimConfig(), -1, 5)
    with pytest.raises(ValueError, match="last_step >= 1, got 0 and 0"):
        learning_rate(OptimConfig(), 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_scale": 0.0}, "optim.encoder_scale above 0, got 0.0"),
        ({"warmup": -1}, "optim.warmup of at least 0"),
        ({"warmup": 5, "schedule": "one_cycle"}, "one_cycle brings its own"),
        ({"start": 1e-5}, "expected optim.warmup, which begins at optim.start"),
        ({"start": -1e-5, "warmup": 2}, "optim.start and optim.end of at least 0"),
        ({"end": 1e-5}, "optim.end with schedule cosine only"),
        ({"momentum": (0.95, 0.85)}, "momentum with schedule one_cycle only"),
        ({"betas": (0.9, 1.0)}, r"optim.betas of at least 0 and below 1, got \[0.9, 1.0\]"),
    ],
)
def test_impossible_settings(options: dict, message: str) -> None:
    config = PretrainConfig(
        MethodConfig("VICReg"), ViewsData(store="a.h5"), OptimConfig(**options), TrainerConfig(max_steps=1)
    )
    with pytest.raises(ConfigError, match=message):
        check_config(config)


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_weight_decay_of_vectors(decay_vectors: bool) -> None:
    """AdamW with zero gradients shrinks what decays by 1 - lr · decay, and leaves the rest as it is."""
    method = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optim = OptimConfig(lr=0.1, weight_decay=0.5, optimizer="adamw", decay_vectors=decay_vectors)
    optimizer = create_optimizer(method, optim)  # type: ignore[arg-type]
    for parameter in method.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in method.named_parameters():
        kept = 1.0 if parameter.ndim == 1 and not decay_vectors else 0.95
        torch.testing.assert_close(parameter, before[name] * kept)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_rate_of_the_encoder(scale: float) -> None:
    """Adam's first step is as long as the rate, whatever the gradient: the encoder's ``encoder_scale`` times that."""
    method = torch.nn.ModuleDict({"encoder": torch.nn.Linear(3, 2), "head": torch.nn.Linear(2, 1)})
    method.encoder = method["encoder"]
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optim = OptimConfig(lr=0.1, weight_decay=0.0, encoder_scale=scale)
    optimizer = create_optimizer(method, optim)  # type: ignore[arg-type]
    follow_schedule(optimizer, optim, 0, 10)
    for parameter in method.parameters():
        parameter.grad = torch.rand_like(parameter) + 0.5
    optimizer.step()
    for name, parameter in method.named_parameters():
        step = 0.1 * (scale if name.startswith("encoder") else 1.0)
        torch.testing.assert_close(parameter, before[name] - step, atol=1e-6, rtol=0)
