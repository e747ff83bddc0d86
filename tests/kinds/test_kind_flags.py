"""Flags of another kind of data, and devices that are not there, are errors of `equissl evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl import cli
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig

VOXELS = {"point_range": [-8, -8, -2, 8, 8, 4], "voxel_size": [0.5, 0.5, 0.25], "max_points": None}
SMALL_VIDEOS = {"frames": 4, "size": 12, "digit_size": 8}
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "views": ("VICReg", {"encoder": {"width": 4}, "projector": [8]}, {"store": "views.h5"}),
    "images": ("VICReg", {"encoder": {"width": 4}, "projector": [8]}, {"kind": "images", "root": "photos"}),
    "drives": ("Occupancy", {"encoder": VOXELS, "hidden": [8]}, {"store": "drives.h5"}),
    "sweeps": ("SECOND", {}, {"store": "drives.h5"}),
    "interactions": ("SASRec", {"encoder": {"num_items": 5}}, {"store": "a.csv"}),
    "paired": (
        "CrossModal",
        {"encoder": {"width": 4}, "cloud": {"name": "pointnet"}},
        {"kind": "paired", "store": "views.h5"},
    ),
    "videos": ("FERNN", {"videos": SMALL_VIDEOS, "observed": 2, "channels": 2}, {"store": "mnist"}),
}
OTHERS = {"paired": "--pairs=3", "views": "--pairs=3", "images": "--protocols=[retrieval]",
          "drives": "--protocols=[retrieval]",
          "sweeps": "--seed=9", "interactions": "--seed=9", "videos": "--protocols=[retrieval]"}  # fmt: skip
every_kind = pytest.mark.parametrize("kind", RUNS)


@every_kind
def test_flags_of_another_kind(kind: str, untrained: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    method, init_args, data = RUNS[kind]
    run = untrained(method, init_args, **data)
    assert cli.main(["evaluate", str(run), OTHERS[kind]]) == 2
    assert f"unknown flag {OTHERS[kind].partition('=')[0]}" in capsys.readouterr().err
    assert not (run / "results.json").exists()


@every_kind
def test_help_shows_the_flags_of_the_kind(
    kind: str, untrained: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    method, init_args, data = RUNS[kind]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(untrained(method, init_args, **data)), "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and "--device" in text
    assert OTHERS[kind].partition("=")[0] + " " not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@every_kind
def test_a_gpu_that_is_not_there(kind: str, untrained: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    method, init_args, data = RUNS[kind]
    assert cli.main(["evaluate", str(untrained(method, init_args, **data)), "--device=cuda"]) == 2
    assert "expected a CUDA GPU for device 'cuda'" in capsys.readouterr().err


def test_options_of_another_kind_from_python(untrained: Callable[..., Path]) -> None:
    method, init_args, data = RUNS["drives"]
    with pytest.raises(TypeError, match="learnt from drives: expected DriveEvaluateConfig, got EvaluateConfig"):
        evaluate(untrained(method, init_args, **data), EvaluateConfig())
