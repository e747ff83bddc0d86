"""Checkpoints of a run: written atomically, read strictly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import build_method, resolve_config
from equissl.util.configtree import flatten
from equissl.util.runfolder import checkpoint_file

OURS = "equissl"  # key of what a checkpoint says about its run
METHOD_PREFIX = "method."
COMPILED = "_orig_mod."  # torch.compile puts this into parameter names


SAVED = ("config", "step")  # what a checkpoint says about its run, at least
LOOP = ("optimizer", "scaler", "observers", "step")  # of the training loop, beside weights: what a run continues with
# Errors of torch.load for damaged and foreign files.
UNREADABLE = (
    RuntimeError, OSError, pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError,
)  # fmt: skip


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this program, or one whose weights do not fit."""


class ForeignFileError(CheckpointError):
    """A file that another program wrote, or that cannot be read."""


def load_method(run_dir: str | Path) -> tuple[Any, PretrainConfig]:
    """Load the pretrained method of a run, in eval mode on the CPU.

    Args:
        run_dir: a run folder, or a checkpoint file.

    Returns:
        the :class:`equissl.methods.base.Method` and the config it was trained with.

    Raises:
        FileNotFoundError: no such run.
        CheckpointError: foreign or damaged file, or weights that do not fit the config's method.
    """
    file = checkpoint_file(run_dir)
    checkpoint = read_checkpoint(file)
    config = resolve_config(checkpoint[OURS]["config"], origin=str(file))
    method = build_method(config.method)
    load_weights(method, method_weights(checkpoint), origin=str(file))
    return method.eval(), config


def run_config(run_dir: str | Path) -> PretrainConfig:
    """Return the config that a run was trained with.

    Raises:
        FileNotFoundError: no such run.
        CheckpointError: foreign or damaged file.
    """
    file = checkpoint_file(run_dir)
    return resolve_config(read_checkpoint(file, mmap=True)[OURS]["config"], origin=str(file))


def read_saved(run_dir: str | Path) -> dict[str, Any]:
    """Return what this program saved in the checkpoint of a run beside weights: config, ``step``, ``versions`` ….

    Raises:
        FileNotFoundError: no such run.
        CheckpointError: foreign or damaged file.
    """
    return read_checkpoint(checkpoint_file(run_dir), mmap=True)[OURS]


def read_checkpoint(file: Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint file, tensors and plain data only (nothing in it is executed).

    Args:
        file: of the checkpoint.
        mmap: True maps the tensors from the file.

    Raises:
        ForeignFileError: not a checkpoint of this program.
        CheckpointError: one with another layout, such as that of a version from before the first release.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ForeignFileError(
            f"{file}: expected a checkpoint of `equissl pretrain`, cannot read it: {reason}"
        ) from error
    if not isinstance(checkpoint, dict) or OURS not in checkpoint or "state_dict" not in checkpoint:
        raise ForeignFileError(
            f"{file}: expected a checkpoint of `equissl pretrain`, got a file with {_held(checkpoint)}"
        )
    _check_layout(checkpoint, file)
    return checkpoint


def check_continuable(checkpoint: dict[str, Any], file: Path) -> None:
    """Check that a checkpoint holds what a run continues with.

    Args:
        checkpoint: from `read_checkpoint`.
        file: it was read from.

    Raises:
        CheckpointError: naming what is missing, for example in a file of a version that trained with Lightning.
    """
    missing = [key for key in LOOP if key not in checkpoint] + [
        key for key in ("random",) if key not in checkpoint[OURS]
    ]
    if missing:
        raise CheckpointError(
            f"{file}: expected a checkpoint of this version to continue from, with {', '.join(LOOP)} and the states of "
            f"the random generators; {', '.join(missing)} missing in a file with {_held(checkpoint)}. It can be "
            "evaluated; take another --out to train anew"
        )


def _check_layout(checkpoint: dict[str, Any], file: Path) -> None:
    ours, weights = checkpoint[OURS], checkpoint["state_dict"]
    missing = [key for key in SAVED if key not in ours] if isinstance(ours, dict) else list(SAVED)
    if missing:
        raise CheckpointError(
            f"{file}: expected a checkpoint of this version, with {', '.join(SAVED)} under {OURS!r}; got "
            f"{_held(ours)} there, without {', '.join(missing)}"
        )
    if not isinstance(weights, dict) or not any(str(key).startswith(METHOD_PREFIX) for key in weights):
        raise CheckpointError(
            f"{file}: expected weights of a method, with names that begin with {METHOD_PREFIX!r}; got {_held(weights)}"
        )
    method = ours["config"].get("method") if isinstance(ours["config"], dict) else None
    if not isinstance(method, dict) or "class_path" not in method:
        raise CheckpointError(
            f"{file}: expected a config that names its method.class_path; got {_held(ours['config'])}"
        )


def _held(content: Any) -> Any:
    return sorted(map(str, content))[:8] if isinstance(content, dict) else type(content).__name__


def method_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return weights under the method's own names, whether or not the run was compiled."""
    weights = checkpoint["state_dict"]
    return {
        key.removeprefix(METHOD_PREFIX).replace(COMPILED, ""): value
        for key, value in weights.items()
        if key.startswith(METHOD_PREFIX)
    }


def load_weights(module: nn.Module, weights: dict[str, torch.Tensor], origin: str) -> None:
    """Load weights strictly.

    Args:
        module: receives the weights.
        weights: by name.
        origin: of the weights, for the error.

    Raises:
        CheckpointError: naming what is missing, what is left over, and shapes expected and found.
    """
    own = module.state_dict()
    problems = [f"missing {key}" for key in own if key not in weights]
    problems += [f"unexpected {key}" for key in weights if key not in own]
    problems += [
        f"{key}: expected shape {tuple(own[key].shape)}, found {tuple(weights[key].shape)}"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    if problems:
        listed = "\n  ".join(problems[:8]) + (f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(f"{origin}: weights do not fit {type(module).__name__}:\n  {listed}")
    module.load_state_dict(weights)


# Keys that may change between two starts of one run: its length, and those that leave the result as it is.
LENGTH = ("trainer.max_epochs", "trainer.max_steps")
FREE = (
    "data.workers",
    "data.live.cache_megabytes",
    "trainer.threads",
    "trainer.checkpoint_every",
    "trainer.checkpoint_minutes",
    "trainer.loggers",
)


def changed_keys(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return flat keys, with old and new value, that forbid continuing a run of config ``old`` with ``new``.

    Args:
        old: config of the run.
        new: config it is to continue with.
    """
    a, b = flatten(old), flatten(new)
    changed = {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}
    return {
        key: (before, after)
        for key, (before, after) in changed.items()
        if key not in FREE and not (key in LENGTH and _longer(before, after))
    }


def _longer(before: int | None, after: int | None) -> bool:
    return after is None or (before is not None and after > before)
