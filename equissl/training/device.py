"""Device, precision and processes of a run."""

from __future__ import annotations

import os

import torch

from equissl.runs.config import ConfigError, TrainerConfig
from equissl.training.launch import local_rank


def choose_accelerator(requested: str) -> str:
    """``cpu`` or ``gpu``.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if requested == "gpu" and not available:
        raise ConfigError(
            "expected a CUDA GPU (trainer.accelerator=gpu), but torch finds none; `equissl doctor` says why. "
            "Use --trainer.accelerator cpu to train without"
        )
    return "gpu" if available and requested != "cpu" else "cpu"


def process_device(accelerator: str) -> torch.device:
    """The device of this process: its own GPU, or the CPU."""
    if accelerator == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", local_rank() % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def cpu_has_bf16() -> bool:
    """Whether the CPU computes in bfloat16 (AMX or AVX512-BF16); elsewhere torch emulates it, slower than float32."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch before 2.10
    return bool(supported and supported())


def choose_precision(requested: str, accelerator: str) -> str:
    """``32``, ``bf16`` or ``16``; ``auto`` is bf16 where the device computes in it.

    Raises:
        ConfigError: 16 on a CPU, which is slow in it and gains nothing over bf16.
    """
    if requested == "16" and accelerator == "cpu":
        raise ConfigError("trainer.precision=16 needs a GPU; on a CPU use bf16 or 32")
    if requested != "auto":
        return requested
    bf16 = torch.cuda.is_bf16_supported() if accelerator == "gpu" else cpu_has_bf16()
    return "bf16" if bf16 else "32"


def launched_outside() -> bool:
    """Whether torchrun, SLURM or our own launcher has started this process as one of several."""
    return any(name in os.environ for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")) or (
        int(os.environ.get("SLURM_NTASKS", "1")) > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    )


def world_size(trainer: TrainerConfig) -> int:
    """Number of training processes."""
    return trainer.devices * trainer.nodes
