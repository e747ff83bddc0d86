"""Place of this process among those that torchrun, SLURM or our own launcher started."""

from __future__ import annotations

import os


def process_rank() -> int:
    """Return the rank of this process among all; 0 when it is the only one."""
    return _first_of("RANK", "SLURM_PROCID", "LOCAL_RANK")


def local_rank() -> int:
    """Return the rank of this process among those of this machine."""
    return _first_of("LOCAL_RANK", "SLURM_LOCALID")


def launched_outside() -> bool:
    """Return True where torchrun, SLURM or our own launcher has started this process as one of several."""
    return any(name in os.environ for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")) or (
        int(os.environ.get("SLURM_NTASKS", "1")) > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    )


def _first_of(*names: str) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
