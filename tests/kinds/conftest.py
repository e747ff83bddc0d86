"""Run folders that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl.runs.checkpoint import METHOD_PREFIX, OURS
from equissl.runs.configfile import build_method, resolve_config
from equissl.util.runfolder import LAST


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., Path]:
    """``untrained(method, init_args, **data)``: a run folder with the initial weights."""

    def make(method: str, init_args: dict[str, Any], **data: Any) -> Path:
        tree = {"method": {"class_path": method, "init_args": init_args}, "data": data, "trainer": {"max_steps": 1}}
        config = resolve_config(tree)
        torch.manual_seed(0)
        built = build_method(config.method)
        state = {METHOD_PREFIX + key: value for key, value in built.state_dict().items()}
        run = tmp_path / "run"
        (run / LAST).parent.mkdir(parents=True)
        torch.save({"state_dict": state, OURS: {"config": config.to_dict(), "step": 1, "views": 4}}, run / LAST)
        return run

    return make
