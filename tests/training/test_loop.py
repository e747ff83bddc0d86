"""The loop against one written out by hand, its scale for fp16, and where states go."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from equissl.methods import StepOutput
from equissl.methods.base import Method
from equissl.runs import OptimConfig, TrainerConfig
from equissl.training.loop import Loop, copied_to
from equissl.training.observers import Observer
from equissl.training.schedule import learning_rate
from equissl.training.strategies import Single

CPU = torch.device("cpu")


class Linear(nn.Linear):
    feature_dim = 3


class Encoder:
    def build(self) -> Linear:
        return Linear(4, 3)


class Regression(Method):
    """Least squares; the sum of squares of its batch is large enough to overflow in fp16 when scaled."""

    def __init__(self) -> None:
        super().__init__(Encoder())
        self.after: list[tuple[int, int]] = []

    def step(self, batch: torch.Tensor) -> StepOutput:
        features = self.encoder(batch)
        return StepOutput(features.float().square().mean(), {}, features.detach()[:, None])

    def features(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"all": self.encoder(inputs)}

    def after_step(self, step: int, last_step: int) -> None:
        self.after.append((step, last_step))


def batches(number: int = 12) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 4, generator=generator) for _ in range(number)]


def make(observers: list[Observer] | None = None, **options: Any) -> Loop:
    torch.manual_seed(0)
    optim = options.pop("optim", OptimConfig(lr=0.1, clip=0.5, schedule="cosine"))
    return Loop(Regression(), optim, Single(CPU, TrainerConfig()), 6, observers=observers or [], **options)


def by_hand(method: Regression, optim: OptimConfig, accumulate: int) -> None:
    adam = torch.optim.Adam(method.parameters(), lr=optim.lr, weight_decay=optim.weight_decay)
    stream = iter(batches())
    for step in range(6):
        adam.param_groups[0]["lr"] = learning_rate(optim, step, 6)
        adam.zero_grad()
        for _ in range(accumulate):
            (method.step(next(stream)).loss / accumulate).backward()
        nn.utils.clip_grad_norm_(method.parameters(), optim.clip)
        adam.step()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_are_those_of_a_loop_by_hand(accumulate) -> None:
    loop = make(accumulate=accumulate)
    expected = copy.deepcopy(loop.method)
    loop.fit(batches())
    by_hand(expected, loop.optim, accumulate)
    assert all(torch.equal(a, b) for a, b in zip(loop.method.parameters(), expected.parameters(), strict=True))
    assert loop.step == 6 and loop.batch == 6 * accumulate
    assert loop.method.after == [(step, 6) for step in range(6)]


class Diary(Observer):
    """Observer that records its calls, and has a state."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.state = {"values": [torch.arange(3.0)], "name": "diary"}

    def on_start(self, loop: Loop) -> None:
        self.calls.append(f"start {loop.step}")

    def before_batch(self, loop: Loop, batch: Any) -> None:
        self.calls.append(f"before {loop.batch}")

    def after_batch(self, loop: Loop, batch: Any) -> None:
        self.calls.append(f"after {loop.batch} {loop.step} {loop.stepped}")

    def on_end(self, loop: Loop) -> None:
        self.calls.append("end")

    def on_error(self, loop: Loop, error: BaseException) -> None:
        self.calls.append(f"error {type(error).__name__}")

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls.append("load")
        self.state = state


class StopAt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Loop, batch: Any) -> None:
        loop.stop = loop.step == self.step


def test_hooks_come_in_order_and_continue_where_the_state_is_from() -> None:
    first = make([diary := Diary(), StopAt(2)], accumulate=2)
    first.fit(batches())
    steps = ["before 0", "after 0 0 False", "before 1", "after 1 1 True"]
    steps += ["before 2", "after 2 1 False", "before 3", "after 3 2 True"]
    assert diary.calls == ["start 0", *steps, "end"]
    state = first.state()
    second = make([diary := Diary(), StopAt(3)], accumulate=2)
    second.fit(batches(), state)
    assert diary.calls == ["start 2", "load", "before 4", "after 4 2 False", "before 5", "after 5 3 True", "end"]


def test_an_error_reaches_every_observer() -> None:
    loop = make([diary := Diary()])
    with pytest.raises(TypeError):
        loop.fit([None])
    assert diary.calls == ["start 0", "before 0", "error TypeError"]


def test_two_states_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two of Diary"):
        make([Diary(), Diary()]).state()


def test_states_of_observers_arrive_on_the_device() -> None:
    """A checkpoint is read into host memory; `meta` stands for any other device."""
    state = make([Diary()]).state()
    torch.manual_seed(0)
    strategy = Single(torch.device("meta"), TrainerConfig())
    loop = Loop(Regression(), OptimConfig(clip=1.0), strategy, 6, observers=[diary := Diary(), StopAt(1)])
    loop._start(state)
    assert diary.state["values"][0].device.type == "meta" and diary.state["name"] == "diary"
    assert {p.device.type for p in loop.method.parameters()} == {"meta"}


def test_copies_share_no_memory() -> None:
    tree = {"a": [torch.ones(2)], "b": (torch.zeros(1), "text", None)}
    copied = copied_to(tree, "cpu")
    tree["a"][0].zero_()
    assert copied["a"][0].tolist() == [1, 1] and copied["b"][1:] == ("text", None)


def test_half_precision_scales_its_loss_and_remembers_the_scale() -> None:
    optim = OptimConfig(lr=0.01, clip=1.0)
    loop = make(optim=optim, precision="16", observers=[StopAt(3)])
    loop.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)  # overflows: steps are left out, the scale is halved
    before = copy.deepcopy(loop.method.state_dict())
    loop.fit(batches())
    assert all(torch.equal(a, before[name]) for name, a in loop.method.state_dict().items())
    assert loop.scaler.get_scale() == 2.0**37
    again = make(optim=optim, precision="16")
    again.fit(batches(), loop.state())
    assert again.scaler.get_scale() == 2.0**34
    free = make(optim=optim, precision="16")
    free.fit(batches())
    exact = make(optim=optim)
    exact.fit(batches())
    for a, b in zip(free.method.parameters(), exact.method.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)
