"""Backends of sparse convolutions by name, and the choice among them."""

from __future__ import annotations

import functools

import torch

from equissl.sparse.backend import Backend, BackendError
from equissl.sparse.spconv_backend import SpconvBackend
from equissl.sparse.torch_backend import TorchBackend

BACKENDS = ("torch", "spconv", "spconv-triton")


@functools.cache
def get_backend(name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        BackendError: for one whose package is not installed; the message says what to install.
        ValueError: for an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"expected a sparse backend 'auto' or one of {', '.join(BACKENDS)}, got {name!r}")
    return TorchBackend() if name == "torch" else SpconvBackend(name)


def choose_backend(name: str, device: torch.device) -> Backend:
    """Choose the backend of a layer for features on ``device``.

    ``auto`` is `torch` on the CPU; elsewhere the first of `spconv`, `spconv-triton` that is installed, else `torch`.

    Args:
        name: ``auto`` or a backend's.
        device: device of the features.

    Raises:
        BackendError: for one that is not installed or cannot run there.
        ValueError: for an unknown name.
    """
    backend = get_backend(_automatic(device.type) if name == "auto" else name)
    backend.check(device)
    return backend


def available_backends(device: torch.device) -> list[str]:
    """Return the names of the backends that can run on ``device`` as things are installed."""
    return [name for name in BACKENDS if _usable(name, device)]


@functools.cache
def _automatic(device_type: str) -> str:
    names = available_backends(torch.device(device_type))
    return next((name for name in names if name != "torch"), "torch")


def _usable(name: str, device: torch.device) -> bool:
    try:
        get_backend(name).check(device)
    except BackendError:
        return False
    return True
