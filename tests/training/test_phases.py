"""Phases of a step: whose parameters move, what is logged, what is refused, and copies and shards of two phases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equissl.methods import Method, Phase, StepOutput
from equissl.runs import ConfigError, OptimConfig, TrainerConfig
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.training.strategies import create_strategy

CPU = torch.device("cpu")


class Encoder:
    def build(self) -> Any:
        encoder: Any = nn.Linear(4, 3)
        encoder.feature_dim = 3
        return encoder


class Game(Method):
    """Two players of one value: the encoder lowers what the judge raises."""

    kind, batch = "none", torch.Tensor
    phases = (Phase("step", ("encoder",)), Phase("judge_step", ("judge",)), Phase("step", ("encoder",)))

    def __init__(self) -> None:
        super().__init__(Encoder())
        self.judge = nn.Linear(3, 1)
        self.calls: list[str] = []

    def step(self, batch: torch.Tensor) -> StepOutput:
        self.calls.append("step")
        features = self.encoder(batch)
        value = self.judge(features).square().mean()
        return StepOutput(value, {"value": value.detach()}, features.detach()[:, None])

    def judge_step(self, batch: torch.Tensor) -> StepOutput:
        self.calls.append("judge")
        with torch.no_grad():
            features = self.encoder(batch)
        value = -self.judge(features).square().mean()
        return StepOutput(value, {"value": value.detach(), "judge": value.detach()}, features[:, None])

    def features(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"all": self.encoder(inputs)}

    def after_step(self, step: int, last_step: int) -> None:
        self.calls.append(f"after {step}")


def batches(number: int = 3) -> list[torch.Tensor]:
    return list(torch.randn(number, 8, 4, generator=torch.Generator().manual_seed(1)))


def make(observers: tuple[Observer, ...] = (), trainer: TrainerConfig | None = None, **options: Any) -> Loop:
    torch.manual_seed(0)
    optim = OptimConfig(lr=0.1, clip=0.5, weight_decay=0.1)
    return Loop(Game(), optim, create_strategy(CPU, trainer or TrainerConfig()), 3, observers=observers, **options)


def by_hand(steps: int) -> Game:
    """Two optimisers in turn: neither decay nor moments of one player move in the other's phase."""
    torch.manual_seed(0)
    game = Game()
    players = {"step": game.encoder, "judge_step": game.judge}
    adams = {name: torch.optim.Adam(part.parameters(), lr=0.1, weight_decay=0.1) for name, part in players.items()}
    for batch in batches(steps):
        for name in ("step", "judge_step", "step"):
            game.zero_grad()
            getattr(game, name)(batch).loss.backward()
            nn.utils.clip_grad_norm_(players[name].parameters(), 0.5)
            adams[name].step()
    return game


def test_weights_are_those_of_two_optimisers_by_hand() -> None:
    loop = make()
    loop.fit(batches())
    for (key, found), expected in zip(loop.method.named_parameters(), by_hand(3).parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=key)
    assert loop.method.calls[:4] == ["step", "judge", "step", "after 0"] and loop.step == 3
    assert loop.output is not None and loop.output.terms.keys() == {"value", "judge"}
    assert loop.output.loss == loop.output.terms["value"] > 0 > loop.output.terms["judge"]  # the first phase's


class StopAt(Observer):
    def after_batch(self, loop: Loop, batch: Any) -> None:
        loop.stop = loop.step == 2


def test_it_continues_to_the_bit() -> None:
    first, second, whole = make(observers=(StopAt(),)), make(), make()
    first.fit(batches())
    second.method.load_state_dict(first.method.state_dict())
    second.fit(batches()[2:], first.state())
    whole.fit(batches())
    assert all(torch.equal(a, b) for a, b in zip(second.method.parameters(), whole.method.parameters(), strict=True))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((), "expected phases of Game, got none"),
        ((Phase("stpe"),), "name its functions, got step 'stpe'"),
        ((Phase("step", ("encoder", "jury")),), "name its modules, got part 'jury'"),
        ((Phase("step", ("encoder",)),), "a phase of Game to move judge.weight, and 1 more"),
    ],
)
def test_wrong_phases(phases: tuple[Phase, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Game, "phases", phases)
    with pytest.raises(ValueError, match=message):
        make()


def test_accumulated_gradients_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"accumulate 1: Game makes 3 updates of each batch, got 2"):
        make(accumulate=2)


def worker(rank: int, world: int) -> dict[str, Any]:
    """The weights after three steps on this process' half of each batch, as copies and as shards."""
    found = {}
    for strategy in ("ddp", "fsdp"):
        loop = make(trainer=TrainerConfig(devices=world, strategy=strategy))  # type: ignore[arg-type]
        loop.fit([batch.chunk(world)[rank] for batch in batches()])
        found[strategy] = loop.state()["state_dict"]
    return found


@pytest.mark.slow
def test_copies_and_shards_train_as_one_process(two_processes: Any) -> None:
    expected = by_hand(3).state_dict()
    for found in two_processes(__file__):
        for strategy, weights in found.items():
            for key, value in expected.items():
                torch.testing.assert_close(
                    weights[f"method.{key}"], value, rtol=1e-4, atol=1e-5, msg=f"{strategy} {key}"
                )
