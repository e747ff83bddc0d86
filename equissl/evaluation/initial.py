"""Encoders before training, the control beside trained ones."""

from __future__ import annotations

from typing import Any

from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import build_method
from equissl.util.randomstate import random_state, seed_everything, set_random_state


def initial_method(training: PretrainConfig) -> Any:
    """Build the method as training started with it: the same seed, the same weights."""
    before = random_state()
    try:
        seed_everything(training.seed)
        return build_method(training.method)
    finally:
        set_random_state(before)
