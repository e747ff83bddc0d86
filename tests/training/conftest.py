"""A tiny store, and a run on it that takes about a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import write_synthetic_store

from equissl.datasets.views.config import ViewsData
from equissl.runs import MethodConfig, PretrainConfig, TrainerConfig, build_method, resolve_config
from equissl.training.data import open_dataset

TINY = {"encoder": {"width": 4}, "projector": [16, 16]}


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training objects (6 batches of 4 in an epoch), 4 views of 32 x 32 pixels."""
    return write_synthetic_store(tmp_path_factory.mktemp("store") / "tiny.h5", objects=32, views=4, size=32)


@pytest.fixture
def make_config(tiny_store: Path) -> Callable[..., PretrainConfig]:
    """A config in 32 bits on the CPU; keyword arguments replace parts or fields of the trainer."""

    def make(method: str = "SIE", init_args: dict[str, Any] | None = None, **trainer: Any) -> PretrainConfig:
        settings = {
            "max_steps": 12,
            "precision": "32",
            "accelerator": "cpu",
            "log_every": 4,
            "checkpoint_every": 5,
            "loggers": ["csv"],
        }
        return PretrainConfig(
            MethodConfig(method, dict(TINY) if init_args is None else init_args),
            ViewsData(store=str(tiny_store), batch_size=4),
            trainer=TrainerConfig(**{**settings, **trainer}),
        )

    return make


@pytest.fixture
def open_data() -> Callable[..., tuple[PretrainConfig, Any]]:
    """``open_data(config, **changes of its data)``: the resolved config and its training data."""

    def open_resolved(config: PretrainConfig, **data: Any) -> tuple[PretrainConfig, Any]:
        resolved = resolve_config(replace(config, data=replace(config.data, **data)).to_dict())
        return resolved, open_dataset(resolved, build_method(resolved.method))

    return open_resolved
