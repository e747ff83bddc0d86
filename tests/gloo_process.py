"""One gloo process: runs ``worker(rank, world)`` of a test file and saves what it returns.

Usage: gloo_process.py TEST_FILE FOLDER WORLD RANK
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist


def main(file: str, folder: Path, world: int, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'init'}", rank=rank, world_size=world)
    sys.path.insert(0, str(Path(file).parent))  # for what the file imports by name
    spec = importlib.util.spec_from_file_location("worker_of_test", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(module.worker(rank, world), folder / f"rank{rank}.tmp")
    (folder / f"rank{rank}.tmp").rename(folder / f"rank{rank}.pt")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all((folder / f"rank{r}.pt").exists() for r in range(world)):
        time.sleep(0.01)  # whoever leaves first closes connections that the other may still read from
    os._exit(0)  # both results are written; taking gloo's threads down can abort the interpreter, rarely


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
