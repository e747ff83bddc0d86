"""Weights of a method's frozen parts, each the whole method of another run."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from torch import nn

from equissl.runs.checkpoint import checkpoint_file, load_method, load_weights
from equissl.weights.reading import WeightsError

logger = logging.getLogger(__name__)


def load_frozen_parts(method: Any) -> dict[str, dict[str, str]]:
    """Fill the parts that a method asks for (`Method.frozen_parts`) from the runs that it names.

    Args:
        method: with its initial weights.

    Returns:
        by part its run and the hash of its checkpoint.

    Raises:
        WeightsError: a part without a run, a run of another method, or of images normalised otherwise.
        CheckpointError: weights that do not fit (they are listed).
        FileNotFoundError: no such run.
    """
    return {name: _load_part(method, name, run) for name, run in method.frozen_parts.items()}


def _load_part(method: Any, name: str, run: str | None) -> dict[str, str]:
    owner, part = type(method).__name__, method.get_submodule(name)
    wanted = type(part).__name__
    if run is None:
        raise WeightsError(f"{owner} needs a trained {wanted}: name its run, --method.{name}_run RUN")
    found, _ = load_method(run)
    if not isinstance(found, type(part)):
        raise WeightsError(f"expected {run} to be a run of {wanted}, it is one of {type(found).__name__}")
    _check_pixels(method, found, run)
    load_weights(part, nn.Module.state_dict(found), origin=run)
    file = checkpoint_file(run)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    logger.info("%s of %s: weights of %s", name, owner, file)
    return {"run": str(Path(run).resolve()), "sha256": digest}


def _check_pixels(method: Any, found: Any, run: str) -> None:
    """Refuse a part that was trained on images normalised by other statistics: it is handed the method's."""
    for name in ("pixel_mean", "pixel_std"):
        own, given = (tuple(getattr(owner, name, ())) for owner in (method, found))
        if own != given:
            raise WeightsError(f"{run} was trained with encoder.{name} {list(given)}, this run has {list(own)}")
