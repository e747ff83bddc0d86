"""Safe reading of other people's checkpoint files: tensors and plain data only, under plain parameter names."""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.runs.checkpoint import UNREADABLE

# Pieces that wrappers put before or into parameter names.
PREFIX = "module."  # DistributedDataParallel, once for each wrapping
WRAPPERS = ("_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "_orig_mod.")
# Keys under which training scripts keep the weights beside epoch and optimiser.
NESTED = ("model", "state_dict", "model_state_dict", "model_state")
# Plain data that scripts store beside weights; making one of these runs no code of the file.
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.dtype]
_HARMLESS += [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")]
_HARMLESS += [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


class WeightsError(ValueError):
    """A file whose weights cannot be read, are not the ones expected, or do not fit."""


@dataclass(frozen=True)
class StoredWeights:
    """Weights of a file.

    Attributes:
        file: where they come from.
        tensors: by plain name, in the file's order.
        epoch: epochs of training that the file names, or None.
        run_id: name of the run that the file holds, or None.
        sha256: of the file.
    """

    file: Path
    tensors: dict[str, Tensor]
    epoch: int | None
    sha256: str
    run_id: str | None = None


def read_weights(file: str | Path) -> StoredWeights:
    """Read the weights of a PyTorch checkpoint, without running anything that the file might bring along.

    Args:
        file: a state dict, or a dictionary that holds one as ``model``, ``state_dict``, ``model_state_dict`` or
            ``model_state``.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: not a checkpoint, one that needs code to be run, or one without weights.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint file, found {'a folder' if file.is_dir() else 'nothing'}: {file}"
        )
    content = _load(file)
    state = plain_names(_state(content, file), file)
    epoch, run_id = content.get("epoch"), content.get("run_id")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    named = run_id if isinstance(run_id, str) else None
    return StoredWeights(file, state, epoch if isinstance(epoch, int) else None, digest, named)


def plain_names(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return weights without the prefixes that wrappers added to their names.

    Args:
        state: weights by name.
        file: they come from, for the error.

    Raises:
        WeightsError: if two weights then have one name.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        while name.startswith(PREFIX):
            name = name.removeprefix(PREFIX)
        for wrapper in WRAPPERS:
            name = name.replace(wrapper, "")
        if name in found:
            raise WeightsError(
                f"{file}: {name!r} is there twice once wrappers are taken off, the second time as {key!r}"
            )
        found[name] = value
    return found


def _load(file: Path) -> Any:
    # mapped, since most of a published file is optimiser and online heads that nobody asks for
    mmap = zipfile.is_zipfile(file)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except UNREADABLE as error:
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
        reason = (reason or str(error).partition("\n")[0] or type(error).__name__).strip()
        raise WeightsError(
            f"{file}: cannot be read as tensors and plain data: {reason[:300]}. A file that stores whole objects would "
            "have to run code to be read; if you trust it, save its state dict alone with torch.save and import that"
        ) from error


def _state(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and "equissl" in content:
        raise WeightsError(f"{file} is a checkpoint of `equissl pretrain`: it needs no import")
    held = [content] if _is_state(content) else []
    if isinstance(content, dict) and not held:
        held = [content[key] for key in NESTED if _is_state(content.get(key))]
    if len(held) != 1:
        keys = sorted(map(str, content))[:8] if isinstance(content, dict) else type(content).__name__
        raise WeightsError(
            f"{file}: expected a state dict, or one under {' or '.join(map(repr, NESTED))}; "
            f"found {len(held) or 'none'} in a file with {keys}"
        )
    return held[0]


def _is_state(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items())
