"""Clipped gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equissl.runs import ConfigError, OptimConfig
from equissl.training import pretrain
from equissl.training.observers import Observer


class Norms(Observer):
    """Norm of the whole gradient of every step, as the optimiser saw it."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def after_batch(self, loop, batch) -> None:
        gradients = [p.grad for p in loop.method.parameters() if p.grad is not None]
        self.found.append(float(torch.stack([g.norm() for g in gradients]).norm()))


def norms(make_config, out, clip: float | None) -> list[float]:
    config = make_config(max_steps=4)
    observer = Norms()
    pretrain(replace(config, optim=OptimConfig(clip=clip)), out, observers=[observer])
    return observer.found


def test_long_gradients_are_scaled_to_the_limit_and_short_ones_left(make_config, tmp_path) -> None:
    free = norms(make_config, tmp_path / "free", None)
    limit = free[0] / 2
    clipped = norms(make_config, tmp_path / "clipped", limit)
    assert clipped[0] == pytest.approx(limit, rel=1e-4) and max(clipped) <= limit * 1.0001
    assert norms(make_config, tmp_path / "wide", 1000 * max(free))[0] == pytest.approx(free[0], rel=1e-5)


def test_a_limit_of_zero_is_an_error(make_config, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"optim.clip above 0 or null, got 0"):
        norms(make_config, tmp_path, 0.0)
