"""Encoders by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from equissl.encoders.base import Encoder
from equissl.encoders.library import TimmEncoder, TorchvisionEncoder, timm_names, torchvision_names
from equissl.encoders.resnet import Stem, resnet18, resnet34, resnet50

REFERENCE: dict[str, Callable[..., Encoder]] = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


def create_encoder(name: str = "resnet18", width: int = 64, stem: Stem = "reference", **options: Any) -> Encoder:
    """An encoder with fresh weights.

    Args:
        name: ``resnet18``, ``resnet34``, ``resnet50`` (the reference variant), ``torchvision/NAME`` or ``timm/NAME``.
        width: channels of the first stage, reference ResNets only.
        stem: first layers of reference ResNets (see :class:`equissl.encoders.ResNet`); torchvision's: ``small`` too.
        **options: passed on to torchvision's or timm's constructor.

    Raises:
        ValueError: for an unknown name (the message holds the nearest one), or an argument the encoder does not have.
    """
    if name in REFERENCE:
        if options:
            raise ValueError(f"{name!r} takes width and stem only, got options {sorted(options)}")
        return REFERENCE[name](width=width, stem=stem)
    library, _, model = name.partition("/")
    if library not in ("torchvision", "timm") or not model:
        raise ValueError(_unknown(name, [*REFERENCE, "torchvision/resnet18"]))
    if width != 64 or stem not in (("reference", "small") if name.startswith("torchvision/resnet") else ("reference",)):
        raise ValueError(
            f"width and stem belong to {list(REFERENCE)}, not to {name!r}: got width={width}, stem={stem!r}"
        )
    names = torchvision_names() if library == "torchvision" else timm_names()
    if model not in names:
        raise ValueError(_unknown(name, [f"{library}/{known}" for known in names]))
    if library == "timm":
        return TimmEncoder(model, **options)
    encoder = TorchvisionEncoder(model, **options)
    if stem == "small":
        encoder.use_small_stem()
    return encoder


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    kinds = f"one of {list(REFERENCE)}, torchvision/NAME or timm/NAME"
    return f"unknown encoder {name!r}; did you mean {nearest!r}? Expected {kinds}"
