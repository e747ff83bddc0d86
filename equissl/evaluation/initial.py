"""Methods before training, the control beside trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equissl.runs.checkpoint import run_config
from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import build_method
from equissl.util.randomstate import random_state, seed_everything, set_random_state
from equissl.util.runfolder import LAST
from equissl.weights.initial import load_backbone


def initial_method(training: PretrainConfig) -> Any:
    """Build the method as training started with it: the same seed and the same encoder to start from.

    Raises:
        FileNotFoundError: what the run started from is not there any more.
    """
    before = random_state()
    try:
        seed_everything(training.seed)
        method = build_method(training.method)
    finally:
        set_random_state(before)
    if training.init is not None:
        load_backbone(method, training.init)
    return method


def run_label(method: Any, training: PretrainConfig) -> str:
    """Name a run by its method's label, and by what it started from.

    Args:
        method: of the run.
        training: its config.
    """
    return method.label if training.init is None else f"{method.label}, {starting_point(training)}"


def starting_point(training: PretrainConfig) -> str:
    """Name what the encoder was before training: a pretraining method, a file, or ``scratch``."""
    if training.init is None:
        return "scratch"
    path = Path(training.init)
    return build_method(run_config(path).method).label if (path / LAST).is_file() else path.name
