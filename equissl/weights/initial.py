"""Pretrained encoder for another network: from a run, an export, or a checkpoint of another library."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from equissl.encoders import Encoder
from equissl.encoders.config import EncoderConfig
from equissl.encoders.library import TimmEncoder, TorchvisionEncoder
from equissl.encoders.voxel import VoxelEncoder
from equissl.runs.checkpoint import (
    OURS,
    CheckpointError,
    ForeignFileError,
    load_weights,
    method_weights,
    read_checkpoint,
)
from equissl.util.runfolder import CARD, LAST
from equissl.weights.openpcdet import PREFIX, load_openpcdet
from equissl.weights.reading import WeightsError, read_weights

ENCODER_PREFIX, OWN_PREFIX = "encoder.", "encoder.backbone."
HEADS = ("fc.", "classifier.", "head.")  # of torchvision's and timm's models
FOREIGN = "foreign"  # kind of a file that another program wrote
METHOD = "method.safetensors"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneReport:
    """Summary of the weights that an encoder was filled with.

    Attributes:
        source: the file.
        kind: ``run``, ``export``, ``openpcdet``, or ``library`` for a state dict of torchvision or timm.
        sha256: of the file.
        tensors: how many were taken: all that the backbone has.
        layout: of the sparse convolutions' weights in the file; empty for images.
    """

    source: str
    kind: str
    sha256: str
    tensors: int
    layout: str

    def __str__(self) -> str:
        layout = f", layout {self.layout}" if self.layout else ""
        return f"backbone from {self.source} ({self.kind}{layout}): all {self.tensors} tensors"


@dataclass(frozen=True)
class _Source:
    file: Path
    kind: str
    tensors: Mapping[str, Tensor]
    encoder: dict[str, Any] | None  # the config that ours were trained with


def load_backbone(method: Any, path: str | Path) -> BackboneReport:
    """Fill the encoder of a method with pretrained weights; every name and shape must fit.

    Args:
        method: with an ``encoder``: a `VoxelEncoder`, whose backbone is filled, or an encoder of images.
        path: run folder or its checkpoint; folder that `equissl export` wrote, or its ``method.safetensors``; for
            voxels a checkpoint of OpenPCDet (``model_state``) or a state dict, a ``.safetensors`` file included, with
            names under ``backbone_3d.`` or ``encoder.backbone.``; for torchvision's and timm's models a state dict
            under the library's names, whose classifier is left aside.

    Raises:
        FileNotFoundError: nothing there.
        WeightsError: no such encoder in it, names or shapes that do not fit (they are listed), or an encoder that was
            trained with other input columns, coordinates, layers or statistics of pixels.
    """
    encoder = getattr(method, "encoder", None)
    if not isinstance(encoder, VoxelEncoder | Encoder):
        raise WeightsError(
            f"expected a method with an encoder of voxels or images to fill, got {type(method).__name__}"
        )
    source = _read(Path(path))
    filled: nn.Module
    if isinstance(encoder, VoxelEncoder):
        filled, (kind, layout) = encoder.backbone, _fill_voxels(encoder, source)
    else:
        config = getattr(method, "encoder_config", None)
        filled, kind, layout = encoder, _fill_images(encoder, config, source), ""
    with source.file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return BackboneReport(str(source.file), kind, digest, len(filled.state_dict()), layout)


def _fill_voxels(encoder: VoxelEncoder, source: _Source) -> tuple[str, str]:
    """Return where the weights are from, and their layout."""
    foreign = source.kind == FOREIGN
    if source.encoder is not None:
        _check_input(source, encoder)
    prefix = _prefix(source)
    try:
        layout = load_openpcdet(encoder.backbone, source.tensors, prefix, None if foreign else "krsc")
    except WeightsError as error:
        raise WeightsError(f"{source.file}: {error}") from error
    return "openpcdet" if foreign else source.kind, layout


def _fill_images(encoder: Encoder, config: EncoderConfig | None, source: _Source) -> str:
    """Return where the weights are from."""
    if source.encoder is not None and config is not None:
        _check_built(source, config)
    tensors = source.tensors
    own = any(name.startswith(ENCODER_PREFIX) for name in tensors)
    if own:
        found = {name.removeprefix(ENCODER_PREFIX): x for name, x in tensors.items() if name.startswith(ENCODER_PREFIX)}
    elif isinstance(encoder, TorchvisionEncoder | TimmEncoder):
        found = {f"model.{name}": x for name, x in tensors.items() if not name.startswith(HEADS)}
    else:
        names = ", ".join(list(tensors)[:4])
        raise WeightsError(f"{source.file}: expected weights under {ENCODER_PREFIX!r}, got {names}")
    try:
        load_weights(encoder, found, str(source.file))
    except CheckpointError as error:
        raise WeightsError(str(error)) from error
    return source.kind if own else "library"


def _check_built(source: _Source, config: EncoderConfig) -> None:
    """Check for the same layers and statistics of pixels; some of them leave names and shapes as they are."""
    given, wanted = asdict(EncoderConfig(**(source.encoder or {}))), asdict(config)
    wrong = [
        f"{name} {given[name]}, not {wanted[name]}" for name in wanted if _plain(given[name]) != _plain(wanted[name])
    ]
    if wrong:
        raise WeightsError(f"{source.file}: expected the encoder that it was trained with, {'; '.join(wrong)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


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
        return _Source(path, FOREIGN, read_weights(path).tensors, None)


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
    return _Source(file, "export" if known else FOREIGN, tensors, arguments.get("encoder"))


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
