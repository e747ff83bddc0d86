"""Learning rates against the published values of OneCycle, closed forms, and torch's own schedulers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from pytest import approx

from equissl.datasets.views.config import ViewsData
from equissl.runs import ConfigError, OptimConfig, load_config
from equissl.runs.config import MethodConfig, PretrainConfig, TrainerConfig, check_config
from equissl.training.optimizer import create_optimizer, follow_schedule
from equissl.training.schedule import first_beta, learning_rate, position, weight_decay

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
        ({"lr_for": 0}, "optim.lr_for of at least 1 and trust above 0, got 0"),
        ({"trust": 0.0}, "trust above 0, got None, 0.0"),
        ({"weight_decay_end": -1.0}, "optim.weight_decay_end of at least 0, got -1.0"),
        ({"betas": (0.9, 1.0)}, r"optim.betas of at least 0 and below 1, got \[0.9, 1.0\]"),
    ],
)
def test_impossible_settings(options: dict, message: str) -> None:
    config = PretrainConfig(
        MethodConfig("VICReg"), ViewsData(store="a.h5"), OptimConfig(**options), TrainerConfig(max_steps=1)
    )
    with pytest.raises(ConfigError, match=message):
        check_config(config)


def test_lars_wants_whole_tensors() -> None:
    trainer = TrainerConfig(max_steps=1, strategy="fsdp")
    config = PretrainConfig(MethodConfig("VICReg"), ViewsData(store="a.h5"), OptimConfig(optimizer="lars"), trainer)
    with pytest.raises(ConfigError, match="strategy ddp with optimizer lars"):
        check_config(config)


def test_rates_of_a_batch() -> None:
    """SimCLR's 0.3 for 256 images is 4.8 for 4,096; accumulated batches count."""
    optim = OptimConfig(lr=0.3, lr_for=256, schedule="cosine", warmup=10, start=0.003, end=0.03)
    scaled = optim.for_batch(4096)
    assert (scaled.lr, scaled.start, scaled.end) == approx((4.8, 0.048, 0.48))
    assert scaled.for_batch(512) == scaled
    assert OptimConfig(lr=0.3).for_batch(4096).lr == 0.3


def test_weight_decay_on_half_a_cosine() -> None:
    optim = OptimConfig(weight_decay=0.04, weight_decay_end=0.4, optimizer="adamw", decay_vectors=False)
    assert [weight_decay(optim, step, 100) for step in (0, 50, 100)] == approx([0.04, 0.22, 0.4])
    optimizer = create_optimizer(torch.nn.Linear(3, 2), optim)  # type: ignore[arg-type]
    follow_schedule(optimizer, optim, 50, 100)
    assert [group["weight_decay"] for group in optimizer.param_groups] == approx([0.22, 0.0])


def _take_steps(optim: OptimConfig, steps: int = 3) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    """Weights and bias of a layer after each of some steps, and the gradients of each."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3).double()
    optimizer, taken, gradients = create_optimizer(layer, optim), [], []  # type: ignore[arg-type]
    for step in range(steps):
        gradients.append([torch.randn_like(p) for p in layer.parameters()])
        for parameter, gradient in zip(layer.parameters(), gradients[-1], strict=True):
            parameter.grad = gradient.clone()
        follow_schedule(optimizer, optim, step, 10)
        optimizer.step()
        taken.append([p.detach().clone() for p in layer.parameters()])
    return taken, gradients


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_momentum_steps_by_hand(optimizer: str) -> None:
    """v ← m v + t (g + λ w) and w ← w - lr v, with t = trust · |w| / (|g| + λ |w|) of LARS on matrices alone."""
    optim = OptimConfig(
        lr=0.2, weight_decay=0.1, decay_vectors=False, optimizer=optimizer, schedule="cosine", trust=0.02
    )
    taken, gradients = _take_steps(optim)
    torch.manual_seed(0)
    weights = [p.detach().clone() for p in torch.nn.Linear(4, 3).double().parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    for step, gradient in enumerate(gradients):
        for place, g in enumerate(gradient):
            w, decay = weights[place], 0.1 if weights[place].ndim > 1 else 0.0
            trusted = optimizer == "lars" and w.ndim > 1
            trust = 0.02 * w.norm() / (g.norm() + decay * w.norm()) if trusted else 1.0
            velocity[place] = 0.9 * velocity[place] + trust * (g + decay * w)
            weights[place] = w - learning_rate(optim, step, 10) * velocity[place]
            torch.testing.assert_close(taken[step][place], weights[place], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_state_continues_to_the_bit(optimizer: str) -> None:
    optim = OptimConfig(lr=0.1, weight_decay=0.1, optimizer=optimizer, decay_vectors=False)  # type: ignore[arg-type]
    layer = torch.nn.Linear(4, 3)
    first = create_optimizer(layer, optim)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(p.shape, generator=generator) for p in layer.parameters()] for _ in range(4)]

    def steps(optimizer: torch.optim.Optimizer, layer: torch.nn.Module, places: range) -> None:
        for place in places:
            for parameter, gradient in zip(layer.parameters(), gradients[place], strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()

    steps(first, layer, range(2))
    copy = torch.nn.Linear(4, 3)
    copy.load_state_dict(layer.state_dict())
    second = create_optimizer(copy, optim)  # type: ignore[arg-type]
    second.load_state_dict(deepcopy(first.state_dict()))  # as from a file: it would share its tensors
    steps(first, layer, range(2, 4))
    steps(second, copy, range(2, 4))
    assert all(map(torch.equal, layer.parameters(), copy.parameters()))


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
