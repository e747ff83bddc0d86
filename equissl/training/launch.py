"""Starts the processes of a run on this machine, the way torchrun would."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

from equissl.runs.config import ConfigError, TrainerConfig

logger = logging.getLogger(__name__)


class ProcessError(RuntimeError):
    """One of several training processes failed."""


def process_rank() -> int:
    """Rank of this process among all; 0 when it is the only one."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def local_rank() -> int:
    """Rank of this process among those of this machine."""
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def launch_processes(function: Callable[..., Any], args: tuple[Any, ...], trainer: TrainerConfig) -> None:
    """Runs ``function(*args)`` in ``trainer.devices`` new processes and waits for all of them.

    Raises:
        ConfigError: several machines, which need torchrun or SLURM.
        ProcessError: with the error of the process that failed first.
    """
    if trainer.nodes > 1:
        raise ConfigError(
            f"trainer.nodes={trainer.nodes}: start the run on every machine with "
            f"`torchrun --nnodes {trainer.nodes} --nproc-per-node {trainer.devices} -m equissl pretrain …`"
        )
    level = logging.getLogger("equissl").getEffectiveLevel()
    port = _free_port()
    arguments = (function, args, trainer.devices, port, level)
    try:
        mp.start_processes(_enter, arguments, nprocs=trainer.devices, start_method="spawn")
    except mp.ProcessRaisedException as error:
        logger.debug("%s", error)
        raise ProcessError(f"process {error.error_index} failed: {str(error).strip().splitlines()[-1]}") from error
    except mp.ProcessExitedException as error:
        raise ProcessError(f"process {error.error_index} ended without a message: {error}") from error


def _enter(rank: int, function: Callable[..., Any], args: tuple[Any, ...], count: int, port: int, level: int) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank),
        NODE_RANK="0",
    )  # fmt: skip
    if rank == 0:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("equissl").setLevel(level)
    function(*args)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
