"""Two gloo processes for the tests in this folder, which also import loss_cases.py by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parent
WORLD = 2
sys.path.insert(0, str(FOLDER))  # also where pytest imports files without their folders


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """``two_processes(__file__)``: what the file's ``worker(rank, world)`` returns in each of two processes."""

    def run(file: str) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("gloo")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(FOLDER / "loss_gloo_worker.py"), file, str(folder), str(WORLD)]
        processes = [
            subprocess.Popen(
                [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            )
            for rank in range(WORLD)
        ]
        try:
            for process in processes:
                output, _ = process.communicate(timeout=120)
                assert process.returncode == 0, output
        finally:
            for process in processes:
                process.kill()
        return [torch.load(folder / f"rank{rank}.pt") for rank in range(WORLD)]

    return run
