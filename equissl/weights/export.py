"""Export of a run as files for other programs: safetensors and a JSON card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.kinds import KINDS
from equissl.methods import Method
from equissl.runs.checkpoint import load_method, load_weights, read_saved
from equissl.runs.config import MethodConfig, PretrainConfig
from equissl.runs.configfile import build_method
from equissl.runs.versions import versions
from equissl.util.files import atomic_path, write_json
from equissl.util.runfolder import CARD
from equissl.weights.images import BACKBONE
from equissl.weights.reading import WeightsError

METHOD = "method.safetensors"
OURS_FORMAT = "equissl"
FORMAT, FORMAT_VERSION = "equissl-method", 1


@dataclass(frozen=True)
class ExportReport:
    """Summary of an export.

    Attributes:
        folder: where.
        files: names of the files.
        backbone: how to load the backbone without this program, or why there is no file of it.
    """

    folder: Path
    files: tuple[str, ...]
    backbone: str


def export_run(
    run: str | Path, out: str | Path, need_backbone: bool = False, format: str = OURS_FORMAT
) -> ExportReport:
    """Write the method of a run as ``method.safetensors`` with ``card.json``, and its backbone for other libraries.

    ``backbone.safetensors`` is written where the encoder is a model of a library. `load_exported` reads the folder
    back.

    Args:
        run: run folder or checkpoint.
        out: folder to write; must not hold an export yet.
        need_backbone: make it an error when there can be no ``backbone.safetensors``.
        format: ``equissl``, or another one that the run's kind of data offers: ``openpcdet`` for voxel backbones.

    Raises:
        FileNotFoundError: no such run.
        CheckpointError: a damaged or foreign checkpoint.
        WeightsError: a format that the kind does not offer, a folder that is not free, or no backbone for other
            libraries where that is needed.
    """
    method, config = load_method(run)
    kind, out = KINDS[config.data.kind], Path(out)
    formats = kind.export_formats()
    if format != OURS_FORMAT:
        if format not in formats:
            offered = ", ".join([OURS_FORMAT, *formats])
            raise WeightsError(f"expected a format of runs on {kind.name} ({offered}), got {format!r}")
        return formats[format](method, out)
    if out.is_file() or (out / CARD).exists():
        raise WeightsError(f"{out} is not free: expected a folder without {CARD}")
    card = _card(method, config, read_saved(run))
    backbone, reason = kind.library_backbone(method, config)
    if need_backbone and backbone is None:
        raise WeightsError(reason)
    card["weights"] = {"file": METHOD, **_write(method.state_dict(), out / METHOD)}
    card["backbone"] = {"file": None, "reason": reason}
    files = [METHOD, CARD]
    if backbone is not None:
        known = {key: getattr(backbone, key) for key in ("library", "name", "load", "same_output")}
        card["backbone"] = {"file": BACKBONE, **known, **_write(backbone.state, out / BACKBONE)}
        files.insert(1, BACKBONE)
    write_json(out / CARD, card)
    return ExportReport(out, tuple(files), reason if backbone is None else backbone.load)


def load_exported(folder: str | Path, trust: bool = False) -> Method:
    """Load the method that :func:`export_run` wrote, in eval mode on the CPU.

    Args:
        folder: the exported folder.
        trust: import the method's class from outside of this program, where the card names such a one.

    Raises:
        FileNotFoundError: no card there.
        WeightsError: a card of another kind or version, a method of another package, or a weights file that is not the
            one of the card.
        CheckpointError: weights that do not fit.
    """
    folder = Path(folder)
    card = _read_card(folder)
    method = MethodConfig(card["method"]["class_path"], card["method"]["init_args"])
    if "." in method.class_path and not method.class_path.startswith("equissl.") and not trust:
        raise WeightsError(
            f"{folder / CARD} names the class {method.class_path!r}, and importing it runs its code: "
            "pass trust=True if you know where it comes from"
        )
    file = folder / METHOD
    if _sha256(file) != card["weights"]["sha256"]:
        raise WeightsError(f"{file} is not the file that {CARD} describes: its SHA-256 differs")
    with torch.random.fork_rng(devices=[]):
        built = build_method(method)
    load_weights(built, _safetensors().load_file(file), origin=str(file))
    return built.eval()


def _card(method: Method, config: PretrainConfig, saved: dict[str, Any]) -> dict[str, Any]:
    """Describe the exported method for somebody who has only the files."""
    arguments = config.method.init_args
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "method": {"class_path": config.method.class_path, "init_args": arguments},
        "kind": config.data.kind,
        "views": method.views,
        **KINDS[config.data.kind].card(method, config),
        "training": {
            "config": _shareable(config),
            "steps": saved.get("step"),
            "views": saved.get("views"),
            "versions": saved.get("versions"),
            "imported": saved.get("imported"),
        },
        "exported_with": versions(),
        "licence": {"weights": None, "data": None, "authors": None, "note": "for whoever publishes this to fill in"},
    }


def _shareable(config: PretrainConfig) -> dict[str, Any]:
    """Return the config without the places of the data on this machine."""
    tree = config.to_dict()
    for key in ("store", "root"):
        if key in tree["data"]:
            tree["data"][key] = Path(tree["data"][key]).name
    return tree


def _write(state: dict[str, Tensor], file: Path) -> dict[str, Any]:
    """Write weights to safetensors, and return the card's entry about the file."""
    # copies, since the format has no two names for one tensor, and knows one memory layout only
    copies = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    # not save_file, which leaves a file that nobody else may read
    with atomic_path(file) as temporary:
        temporary.write_bytes(_safetensors().save(copies, metadata={"format": "pt"}))
    numbers = sum(value.numel() for value in copies.values() if value.is_floating_point())
    return {"sha256": _sha256(file), "tensors": len(copies), "numbers": numbers}


def _read_card(folder: Path) -> dict[str, Any]:
    file = folder / CARD
    if not file.is_file():
        raise FileNotFoundError(f"no {CARD} in {folder}: expected a folder written by `equissl export`")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{file}: expected a card in JSON: {error}") from error
    found = (card.get("format"), card.get("format_version")) if isinstance(card, dict) else type(card).__name__
    if found != (FORMAT, FORMAT_VERSION):
        raise WeightsError(f"{file}: expected a card of format {(FORMAT, FORMAT_VERSION)}, found {found}")
    return card


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _safetensors() -> Any:
    import safetensors.torch

    return safetensors.torch
