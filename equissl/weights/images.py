"""Image encoders for other libraries, and what the card of a method on images says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.encoders import Encoder
from equissl.encoders.config import EncoderConfig
from equissl.encoders.library import TimmEncoder, TorchvisionEncoder
from equissl.methods.views.base import ViewMethod
from equissl.runs.config import PretrainConfig
from equissl.weights.reading import WeightsError

BACKBONE = "backbone.safetensors"
_ANY_SIZE = 224  # pixels; every encoder without an image size of its own takes it


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


def image_backbone(method: ViewMethod, config: PretrainConfig) -> tuple[LibraryBackbone | None, str]:
    """Return the backbone for other libraries, or None and the reason.

    Args:
        method: in eval mode, on the CPU.
        config: of its run.
    """
    encoder = _encoder_config(config)
    if encoder is None:
        return None, f"{type(method).__name__} has no argument `encoder` that says what its encoder is"
    try:
        return library_backbone(method.encoder, encoder), ""
    except WeightsError as error:
        return None, str(error)


def image_card(method: ViewMethod, config: PretrainConfig) -> dict[str, Any]:
    """Describe the input and the parts of a method on images.

    Args:
        method: in eval mode, on the CPU.
        config: of its run.
    """
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


def library_backbone(encoder: Encoder, config: EncoderConfig) -> LibraryBackbone:
    """Return an encoder under the names of the library that it comes from.

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


def _encoder_config(config: PretrainConfig) -> EncoderConfig | None:
    given = config.method.init_args.get("encoder")
    return EncoderConfig(**given) if isinstance(given, dict) else None


def _encoder_size(config: PretrainConfig) -> int:
    encoder = _encoder_config(config)
    size = (encoder.options if encoder else {}).get("img_size", _ANY_SIZE)
    return size if isinstance(size, int) else size[0]


@torch.no_grad()
def _parts(method: ViewMethod, image_size: int) -> dict[str, int]:
    """Size of each part of the representation."""
    black = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)
    return {name: part.shape[1] for name, part in method.features(black).items()}
