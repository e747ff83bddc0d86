"""Pretrained voxel backbone for another network: from a run, an export, or a checkpoint of OpenPCDet."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from equissl.encoders.voxel import VoxelEncoder
from equissl.runs.checkpoint import OURS, ForeignFileError, method_weights, read_checkpoint
from equissl.util.runfolder import LAST
from equissl.weights.openpcdet import PREFIX, load_openpcdet
from equissl.weights.reading import WeightsError, read_weights

OWN_PREFIX = "encoder.backbone."
CARD, METHOD = "card.json", "method.safetensors"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneReport:
    """Summary of the weights that a backbone was filled with.

    Attributes:
        source: the file.
        kind: ``run``, ``export`` or ``openpcdet``.
        sha256: of the file.
        tensors: how many were taken: all that the backbone has.
        layout: of the convolutions' weights in the file.
    """

    source: str
    kind: str
    sha256: str
    tensors: int
    layout: str

    def __str__(self) -> str:
        return f"backbone from {self.source} ({self.kind}, layout {self.layout}): all {self.tensors} tensors"


@dataclass(frozen=True)
class _Source:
    file: Path
    kind: str
    tensors: Mapping[str, Tensor]
    encoder: dict[str, Any] | None  # the config that ours were trained with


def load_backbone(method: Any, path: str | Path) -> BackboneReport:
    """Fill the voxel backbone of a method with pretrained weights; every name and shape must fit.

    Args:
        method: with an ``encoder`` (`VoxelEncoder`), such as a detector.
        path: run folder or its checkpoint; folder that `equissl export` wrote, or its ``method.safetensors``; a
            checkpoint of OpenPCDet (``model_state``) or a state dict, a ``.safetensors`` file included, with names
            under ``backbone_3d.`` or ``encoder.backbone.``.

    Raises:
        FileNotFoundError: nothing there.
        WeightsError: no such backbone in it, names or shapes that do not fit (they are listed), or a backbone that was
            trained with other input columns or coordinates.
    """
    encoder = getattr(method, "encoder", None)
    if not isinstance(encoder, VoxelEncoder):
        raise WeightsError(f"expected a method with a voxel encoder to fill, got {type(method).__name__}")
    source = _read(Path(path))
    if source.encoder is not None:
        _check_input(source, encoder)
    prefix = _prefix(source)
    try:
        layout = load_openpcdet(
            encoder.backbone, source.tensors, prefix, None if source.kind == "openpcdet" else "krsc"
        )
    except WeightsError as error:
        raise WeightsError(f"{source.file}: {error}") from error
    with source.file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return BackboneReport(str(source.file), source.kind, digest, len(encoder.backbone.state_dict()), layout)


def _read(path: Path) -> _Source:
    if path.is_dir():
        if (path / LAST).is_file():
            return _read_run(path / LAST)
        if (path / METHOD).is_file():
            return _read_export(path / METHOD)
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"expected a run or an exported folder at {path}: it holds {held}")
    if not path.is_file():
        raise FileNotFoundError(f"expected a run folder, an exported folder or a checkpoint, found nothing at {path}")
    if path.suffix == ".safetensors":
        return _read_export(path)
    try:
        return _read_run(path)
    except ForeignFileError:
        return _Source(path, "openpcdet", read_weights(path).tensors, None)


def _read_run(file: Path) -> _Source:
    checkpoint = read_checkpoint(file)
    arguments = checkpoint[OURS]["config"]["method"].get("init_args", {})
    return _Source(file, "run", method_weights(checkpoint), arguments.get("encoder"))


def _read_export(file: Path) -> _Source:
    import safetensors.torch

    try:
        tensors = safetensors.torch.load_file(file)
    except Exception as error:  # of a type that the library does not export
        raise WeightsError(f"{file}: expected a safetensors file: {error}") from error
    card = file.with_name(CARD)
    known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() and file.name == METHOD else {}
    arguments = known.get("method", {}).get("init_args", {})
    return _Source(file, "export" if known else "openpcdet", tensors, arguments.get("encoder"))


def _prefix(source: _Source) -> str:
    found = [prefix for prefix in (OWN_PREFIX, PREFIX) if any(name.startswith(prefix) for name in source.tensors)]
    if len(found) != 1:
        names = ", ".join(list(source.tensors)[:4])
        raise WeightsError(f"{source.file}: expected weights under {OWN_PREFIX!r} or {PREFIX!r}, got {names}")
    return found[0]


def _check_input(source: _Source, encoder: VoxelEncoder) -> None:
    """Check for the same columns in the same coordinates; another size of voxels may be meant."""
    given, wanted = source.encoder or {}, encoder.config
    for name in ("backbone", "in_channels", "coordinates"):
        if given.get(name, getattr(wanted, name)) != getattr(wanted, name):
            raise WeightsError(
                f"{source.file}: expected a backbone with {name} {getattr(wanted, name)!r}, it has {given[name]!r}"
            )
    if list(given.get("voxel_size", wanted.voxel_size)) != list(wanted.voxel_size):
        logger.warning(
            "%s was trained on voxels of %s m, not %s", source.file, given["voxel_size"], list(wanted.voxel_size)
        )
