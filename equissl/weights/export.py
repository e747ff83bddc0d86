"""A run as files that others can use: safetensors and a JSON card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from equissl.encoders import Encoder
from equissl.encoders.library import TimmEncoder, TorchvisionEncoder
from equissl.methods.base import EncoderConfig, Method
from equissl.methods.drives import DriveMethod
from equissl.runs.checkpoint import OURS, checkpoint_file, load_method, load_weights, read_checkpoint
from equissl.runs.config import MethodConfig, PretrainConfig
from equissl.runs.configfile import build_method
from equissl.runs.versions import versions
from equissl.weights.reading import WeightsError
from equissl.weights.scenes import LOAD, drive_card, export_drive_backbone

CARD, METHOD, BACKBONE = "card.json", "method.safetensors", "backbone.safetensors"
FORMAT, FORMAT_VERSION = "equissl-method", 1
_ANY_SIZE = 224  # pixels; every encoder without an image size of its own takes it


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        folder: where.
        files: names of the files.
        backbone: how to load the backbone without this program, or why there is no file of it.
    """

    folder: Path
    files: tuple[str, ...]
    backbone: str


@dataclass(frozen=True)
class LibraryBackbone:
    """An encoder as a torchvision or timm model.

    Attributes:
        library: ``torchvision`` or ``timm``.
        name: of the model in it.
        state: weights by the library's names, without a head.
        load: Python that loads ``backbone.safetensors``.
        same_output: whether the library's own forward pass, without head, gives this program's features; where it does
            not, the library pools or normalises the last feature map in another way.
    """

    library: str
    name: str
    state: dict[str, Tensor]
    load: str
    same_output: bool


def export_run(
    run: str | Path,
    out: str | Path,
    need_backbone: bool = False,
    format: Literal["equissl", "openpcdet"] = "equissl",
) -> ExportReport:
    """Writes the method of a run as ``method.safetensors`` with ``card.json``, and its backbone for other libraries.

    ``backbone.safetensors`` is written where the encoder is a torchvision or timm model. :func:`load_exported` reads
    the folder back. The backbone of a run on LiDAR scenes goes to OpenPCDet instead.

    Args:
        run: run folder or checkpoint.
        out: folder to write; must not hold an export yet.
        need_backbone: make it an error when there can be no ``backbone.safetensors``.
        format: ``equissl``, or ``openpcdet`` for a run on LiDAR scenes: its voxel backbone alone, as a checkpoint that
            OpenPCDet's detectors start from.

    Raises:
        FileNotFoundError: no such run.
        CheckpointError: a damaged or foreign checkpoint.
        WeightsError: a folder that is not free, or no backbone for other libraries where that is needed.
    """
    out = Path(out)
    if format not in ("equissl", "openpcdet"):
        raise WeightsError(f"expected format 'equissl' or 'openpcdet', got {format!r}")
    if format == "openpcdet":
        return ExportReport(out, export_drive_backbone(load_method(run)[0], out), LOAD)
    if out.is_file() or (out / CARD).exists():
        raise WeightsError(f"{out} is not free: expected a folder without {CARD}")
    method, config = load_method(run)
    backbone, reason = _backbone(method, config)
    if need_backbone and backbone is None:
        raise WeightsError(reason)
    out.mkdir(parents=True, exist_ok=True)
    card = _card(method, config, read_checkpoint(checkpoint_file(run), mmap=True)[OURS])
    card["weights"] = {"file": METHOD, **_write(method.state_dict(), out / METHOD)}
    card["backbone"] = {"file": None, "reason": reason}
    files = [METHOD, CARD]
    if backbone is not None:
        known = {key: getattr(backbone, key) for key in ("library", "name", "load", "same_output")}
        card["backbone"] = {"file": BACKBONE, **known, **_write(backbone.state, out / BACKBONE)}
        files.insert(1, BACKBONE)
    _replace_text(out / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return ExportReport(out, tuple(files), reason if backbone is None else backbone.load)


def load_exported(folder: str | Path, trust: bool = False) -> Method:
    """The method that :func:`export_run` wrote, in eval mode on the CPU.

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


def library_backbone(encoder: Encoder, config: EncoderConfig) -> LibraryBackbone:
    """An encoder under the names of the library that it comes from.

    Args:
        encoder: in eval mode, on the CPU.
        config: that it was built from.

    Raises:
        WeightsError: for an encoder that no library has.
    """
    library, _, name = config.name.partition("/")
    if not isinstance(encoder, TorchvisionEncoder | TimmEncoder):
        raise WeightsError(
            f"encoder {config.name!r} is the ResNet of the SIE and EquiCaps papers, which torchvision and timm do not "
            "have: a projection shortcut in every stage, the stride in the second convolution of a block, TensorFlow's "
            "padding. Under their names the weights would give other outputs. Train with an encoder torchvision/NAME "
            "or timm/NAME for a backbone to load there; load_exported loads this one"
        )
    options = "".join(f", {key}={value!r}" for key, value in config.options.items())
    if library == "timm":
        create = f"model = timm.create_model({name!r}, num_classes=0{options})"
    else:
        heads = [head for head in ("fc", "classifier") if hasattr(encoder.model, head)]
        create = f"model = torchvision.models.get_model({name!r}{options})"
        create += "".join(f"; model.{head} = torch.nn.Identity()" for head in heads)
    load = f"{create}; model.load_state_dict(safetensors.torch.load_file({BACKBONE!r}))"
    return LibraryBackbone(library, name, encoder.model.state_dict(), load, _same_output(encoder, config))


@torch.no_grad()
def _same_output(encoder: TorchvisionEncoder | TimmEncoder, config: EncoderConfig) -> bool:
    """The library's own forward pass against ours, on noise; its head is already dropped from ``encoder.model``."""
    size = config.options.get("img_size", _ANY_SIZE)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    theirs, ours = encoder.model(images), encoder(images)
    if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
        return False
    return bool((theirs - ours).abs().max() <= 1e-4 * ours.abs().max())


def _backbone(method: Method, config: PretrainConfig) -> tuple[LibraryBackbone | None, str]:
    """The backbone for other libraries, or why there is none."""
    if isinstance(method, DriveMethod):
        return None, "its backbone is a sparse one of voxels: export it once more with --format openpcdet"
    encoder = _encoder_config(config)
    if encoder is None:
        return None, f"{type(method).__name__} has no argument `encoder` that says what its encoder is"
    try:
        return library_backbone(method.encoder, encoder), ""
    except WeightsError as error:
        return None, str(error)


def _encoder_config(config: PretrainConfig) -> EncoderConfig | None:
    given = config.method.init_args.get("encoder")
    return EncoderConfig(**given) if isinstance(given, dict) else None


def _card(method: Method, config: PretrainConfig, saved: dict[str, Any]) -> dict[str, Any]:
    """What somebody who has only the files needs to know."""
    arguments = config.method.init_args
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "method": {"class_path": config.method.class_path, "init_args": arguments},
        "views": method.views,
        **(drive_card(method) if isinstance(method, DriveMethod) else _image_card(method, config)),
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


def _image_card(method: Method, config: PretrainConfig) -> dict[str, Any]:
    """What the card of a method of images says of its input."""
    size = config.method.init_args.get("image_size")
    return {
        "parts": _parts(method, size or _encoder_size(config)),
        "image_size": size,
        "quaternion": {"order": "xyzw", "sign": config.method.init_args.get("sign")},
        "normalisation": {
            "channels": "RGB",
            "mean": method.pixel_mean,
            "std": method.pixel_std,
            "formula": "(pixel / 255 - mean) / std; uint8 images are normalised by the method itself",
        },
    }


def _shareable(config: PretrainConfig) -> dict[str, Any]:
    """The config without where on this machine the data lie."""
    tree = config.to_dict()
    tree["data"]["store"] = Path(tree["data"]["store"]).name
    return tree


def _encoder_size(config: PretrainConfig) -> int:
    encoder = _encoder_config(config)
    size = (encoder.options if encoder else {}).get("img_size", _ANY_SIZE)
    return size if isinstance(size, int) else size[0]


@torch.no_grad()
def _parts(method: Method, image_size: int) -> dict[str, int]:
    """Size of each part of the representation."""
    black = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)
    return {name: part.shape[1] for name, part in method.features(black).items()}


def _write(state: dict[str, Tensor], file: Path) -> dict[str, Any]:
    """Weights to safetensors; what the card says of the file."""
    temporary = file.with_name(f"{file.name}.tmp")
    # copies, since the format has no two names for one tensor, and knows one memory layout only
    copies = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    # not save_file, which leaves a file that nobody else may read
    temporary.write_bytes(_safetensors().save(copies, metadata={"format": "pt"}))
    temporary.replace(file)
    numbers = sum(value.numel() for value in copies.values() if value.is_floating_point())
    return {"sha256": _sha256(file), "tensors": len(copies), "numbers": numbers}


def _replace_text(file: Path, text: str) -> None:
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


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
