"""Choice of device and precision, by request and by what the machine has."""

from __future__ import annotations

import torch

from equissl.util.ranks import local_rank


class DeviceError(ValueError):
    """A device or precision that this machine does not have."""


def choose_accelerator(requested: str) -> str:
    """Return ``cpu`` or ``gpu``.

    Raises:
        DeviceError: a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if requested == "gpu" and not available:
        raise DeviceError(
            "expected a CUDA GPU (trainer.accelerator=gpu), but torch finds none; `equissl doctor` says why. "
            "Use --trainer.accelerator cpu to train without"
        )
    return "gpu" if available and requested != "cpu" else "cpu"


def cpu_has_bf16() -> bool:
    """Return True where the CPU computes in bfloat16 (AMX or AVX512-BF16); elsewhere torch emulates it, slowly."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch before 2.10
    return bool(supported and supported())


def choose_precision(requested: str, accelerator: str) -> str:
    """Choose ``32``, ``bf16`` or ``16``; ``auto`` is bf16 where the device computes in it.

    Args:
        requested: precision asked for, or ``auto``.
        accelerator: ``cpu`` or ``gpu``.

    Raises:
        DeviceError: 16 on a CPU, which is slow in it and gains nothing over bf16.
    """
    if requested == "16" and accelerator == "cpu":
        raise DeviceError("trainer.precision 16 needs a GPU: on a CPU take --trainer.precision bf16 or 32, or auto")
    if requested != "auto":
        return requested
    bf16 = torch.cuda.is_bf16_supported() if accelerator == "gpu" else cpu_has_bf16()
    return "bf16" if bf16 else "32"


def process_device(accelerator: str) -> torch.device:
    """Return the device of this process: its own GPU, or the CPU."""
    if accelerator == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", local_rank() % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes a GPU where there is one.

    Raises:
        DeviceError: a name that torch does not know, or a GPU where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"expected a device such as cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"expected a CUDA GPU for device {name!r}, but torch finds none; `equissl doctor` says why")
    return device
