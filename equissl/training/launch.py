"""Processes of a run: started on this machine as by torchrun, or joined where torchrun or SLURM started them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from equissl.runs.config import ConfigError, TrainerConfig
from equissl.training.signals import SIGNALS
from equissl.util.processes import Ending, end_with_parent
from equissl.util.ranks import process_rank

INTERRUPTED = 130  # exit code of a process that was asked to stop, and has saved
GRACE = 30.0  # seconds from an error in one process to the end of the others
logger = logging.getLogger(__name__)


class ProcessError(RuntimeError):
    """Failure of one of several training processes."""


def launch_processes(function: Callable[..., Any], args: tuple[Any, ...], trainer: TrainerConfig) -> None:
    """Run ``function(*args)`` in ``trainer.devices`` new processes and wait for all of them.

    They receive the signals that this process gets, and end when it does.

    Args:
        function: of a module, so that another process can import it.
        args: its arguments.
        trainer: number of processes.

    Raises:
        ConfigError: several machines, which need torchrun or SLURM.
        ProcessError: with the error of the process that failed first.
        KeyboardInterrupt: the processes were asked to stop.
    """
    if trainer.nodes > 1:
        raise ConfigError(
            f"trainer.nodes={trainer.nodes}: start the run on every machine with "
            f"`torchrun --nnodes {trainer.nodes} --nproc-per-node {trainer.devices} -m equissl pretrain …`"
        )
    level = logging.getLogger("equissl").getEffectiveLevel()
    arguments = (function, args, trainer.devices, _free_port(), level)
    context = mp.start_processes(_enter, arguments, nprocs=trainer.devices, join=False, start_method="spawn")
    try:
        with _forwarded_signals(context.pids()) as forwarded:
            while not context.join(grace_period=GRACE):
                pass
    except mp.ProcessRaisedException as error:
        logger.debug("%s", error)
        raise ProcessError(f"process {error.error_index} failed: {str(error).strip().splitlines()[-1]}") from error
    except mp.ProcessExitedException as error:
        if error.exit_code == INTERRUPTED or forwarded:
            raise KeyboardInterrupt from None
        raise ProcessError(f"process {error.error_index} ended without a message: {error}") from error


def join_processes(device: torch.device, trainer: TrainerConfig) -> bool:
    """Enter the group of training processes; False where this process was in one already.

    Args:
        device: of this process: its gradients travel through nccl, or through gloo on a CPU.
        trainer: number of processes.

    Raises:
        ConfigError: another number of processes was started.
    """
    if dist.is_initialized():
        return False
    expected = trainer.devices * trainer.nodes
    started = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    if started != expected:
        raise ConfigError(f"expected trainer.devices x nodes = {expected} processes, got {started}")
    backend = "nccl" if device.type == "cuda" else "gloo"
    if expected == 1:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    else:
        _name_the_first_machine()
        dist.init_process_group(backend, rank=process_rank(), world_size=expected)
    return True


def leave_processes() -> None:
    """Leave the group that `join_processes` entered."""
    dist.destroy_process_group()


def first_machine(nodes: str) -> str:
    """Return the first name of SLURM's compressed list: ``gpu007`` of ``gpu[007-012,020],cpu1``."""
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", nodes).split(",")[0]


def _name_the_first_machine() -> None:
    """Name the machine where the processes meet, from SLURM's variables; torchrun and our launcher have named it."""
    if "MASTER_ADDR" not in os.environ and "SLURM_JOB_NODELIST" in os.environ:
        os.environ["MASTER_ADDR"] = first_machine(os.environ["SLURM_JOB_NODELIST"])
    if "MASTER_PORT" not in os.environ and "SLURM_JOB_ID" in os.environ:
        os.environ["MASTER_PORT"] = str(15000 + int(os.environ["SLURM_JOB_ID"]) % 10000)


def _enter(rank: int, function: Callable[..., Any], args: tuple[Any, ...], count: int, port: int, level: int) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank),
        NODE_RANK="0",
    )  # fmt: skip
    end_with_parent()
    ending = Ending()
    if rank == 0:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("equissl").setLevel(level)
    try:
        function(*args)
        ending.code = 0
    except KeyboardInterrupt:
        ending.code = INTERRUPTED
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def _forwarded_signals(pids: list[int]) -> Iterator[list[int]]:
    """Hand signals on to other processes, which answer them, instead of answering them here; list which have come."""
    forwarded: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield forwarded
        return

    def forward(number: int, frame: Any) -> None:
        forwarded.append(number)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
