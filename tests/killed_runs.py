"""Runs whose process is killed outright, in a child of the tests' own process: nothing is imported again."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import torch

from equissl.runs import PretrainConfig, read_checkpoint
from equissl.training import pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.util.runfolder import LAST


class KillAfter(Observer):
    """Kills its own process after a step, before anything else can be done about it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Loop, batch: Any) -> None:
        if loop.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_run(config: PretrainConfig, out: Path, step: int) -> int:
    """Trains in a child process that SIGKILL ends after ``step``; returns the step of the checkpoint that is left."""
    child = multiprocessing.get_context("fork").Process(target=pretrain, args=(config, out, [KillAfter(step)]))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    return read_checkpoint(out / LAST)["step"]


def same_weights(one: Path, other: Path) -> bool:
    """True where two runs end with the same bits."""
    first, second = (read_checkpoint(run / LAST)["state_dict"] for run in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def logged(run: Path) -> list[tuple[str, ...]]:
    """Rows of metrics.csv without clock times."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [(step, views, name, value) for step, views, _, name, value in lines if not name.startswith("time/")]
