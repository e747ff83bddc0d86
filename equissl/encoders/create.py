"""Encoders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from equissl.encoders.base import Encoder
from equissl.encoders.resnet import Stem
from equissl.util.registry import Registry, check_options

#: Encoders, and as ``LIBRARY/NAME`` functions of a library's name for one.
ENCODERS: Registry[Callable[..., Encoder]] = Registry(
    "encoder",
    {
        "resnet18": "equissl.encoders.resnet:resnet18",
        "resnet34": "equissl.encoders.resnet:resnet34",
        "resnet50": "equissl.encoders.resnet:resnet50",
        "torchvision/NAME": "equissl.encoders.library:torchvision_encoder",
        "timm/NAME": "equissl.encoders.library:timm_encoder",
    },
    group="equissl.encoders",
    base=(Encoder, FunctionType),
)


def create_encoder(name: str = "resnet18", width: int = 64, stem: Stem = "reference", **options: Any) -> Encoder:
    """Create an encoder with fresh weights.

    Args:
        name: ``resnet18``, ``resnet34``, ``resnet50`` (the reference variant), ``torchvision/NAME``, ``timm/NAME``, or
            the import path of a subclass of `Encoder` or of a function that makes one.
        width: channels of the first stage, for encoders that take it: the reference ResNets.
        stem: first layers of reference ResNets (see :class:`equissl.encoders.ResNet`); torchvision's: ``small`` too.
        **options: further arguments of the encoder; torchvision's and timm's constructors get them.

    Raises:
        ValueError: for an unknown name (the message holds the nearest one), or an argument the encoder does not have.
    """
    make = _maker(name)
    parameters = inspect.signature(make).parameters
    for key, value, default in (("width", width, 64), ("stem", stem, "reference")):
        if key in parameters:
            options[key] = value
        elif value != default:
            raise ValueError(f"encoder {name!r} has no {key}, got {key}={value!r}")
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        check_options(f"encoder {name!r}", options, parameters)
    return make(**options)


def _maker(name: str) -> Callable[..., Encoder]:
    library, slash, model = name.partition("/")
    if not slash:
        return ENCODERS[name]
    if not model or f"{library}/NAME" not in ENCODERS:
        raise ENCODERS.unknown(name)
    return partial(ENCODERS[f"{library}/NAME"], model)
