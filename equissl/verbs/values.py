"""Values of flags: plain types, and names in registries, checked before anything heavy is imported."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass

from equissl.util.registry import did_you_mean, is_import_path
from equissl.util.signatures import UNKNOWN, registry_of
from equissl.verbs.options import Option


@dataclass(frozen=True)
class Names:
    """Names that a flag takes: those of a registry, others, and import paths.

    Attributes:
        noun: what they name.
        registry: import path.
        others: names beside those of the registry.
    """

    noun: str
    registry: str
    others: tuple[str, ...] = ()

    def known(self) -> list[str]:
        """Return all names; empty where the registry's source does not say them."""
        found = list(registry_of(self.registry))
        return [*found, *self.others] if found else []


#: Names by the end of a flag's key.
NAMES = {
    "method.class_path": Names("method", "equissl.methods:METHODS"),
    "data.kind": Names("kind", "equissl.kinds:KINDS"),
    "data.flow": Names("flow provider", "equissl.scene_flow.registry:PROVIDERS", ("stored", "none")),
    "data.format": Names("image format", "equissl.datasets.images.formats:FORMATS", ("auto",)),
    "trainer.loggers": Names("logger", "equissl.training.loggers:LOGGERS"),
    "encoder.name": Names("encoder", "equissl.encoders.create:ENCODERS"),
    "objective.name": Names("objective", "equissl.objectives.create:OBJECTIVES"),
    "predictor": Names("predictor", "equissl.predictors.create:PREDICTORS"),
    "aggregator": Names("aggregator", "equissl.encoders.aggregator:AGGREGATORS"),
    "renderer": Names("renderer", "equissl.renderers.base:RENDERERS"),
    "policy": Names("augmentation policy", "equissl.datasets.images.policies:POLICIES"),
    "form": Names("form of image sequences", "equissl.datasets.images.sequences.create:FORMS"),
    "provider": Names("flow provider", "equissl.scene_flow.registry:PROVIDERS"),
    "protocols": Names(
        "protocol",
        "equissl.evaluation.views.tasks:PROBES",
        (
            "retrieval",
            "subject",
            "train_mode",
            "preference",
            "translation",
            "aggregate",
            "path_integration",
            "sequence_retrieval",
        ),
    ),
    "ingest.format": Names("format", "equissl.datasets.drives.readers:READERS"),
}


def names_of(option: Option) -> Names | None:
    """Return the names that a flag takes; None for values of another sort."""
    parts = (option.names or option.key).split(".")
    ends = (".".join(parts[first:]) for first in range(len(parts)))
    return next((NAMES[end] for end in ends if end in NAMES), None)


def wrong_value(option: Option, key: str, value: object) -> str:
    """Say what is wrong with a value, empty where nothing is that can be seen without an import.

    Args:
        option: whose value it is.
        key: its key, as given.
        value: text of the command line, or a value of a config.
    """
    names = names_of(option)
    if names is not None and option.key == key:
        return _wrong_name(names, value)
    if typing.get_origin(option.type) is typing.Literal:
        known = [str(choice) for choice in typing.get_args(option.type)]
        hint = did_you_mean(str(value), known)
        return "" if str(value) in known else f"expected one of {', '.join(known)}, got {str(value)!r}{hint}"
    if option.type is UNKNOWN or _fits(option.type, value):
        return ""
    return f"expected {option.hint}, got {value!r}"


def _wrong_name(names: Names, value: object) -> str:
    known = names.known()
    for name in _listed(value):
        if known and name not in known and not is_import_path(name) and not _in_family(name, known):
            return f"unknown {names.noun} {name!r}{did_you_mean(name, known)}; expected one of {', '.join(known)}"
    return ""


def _listed(value: object) -> Iterable[str]:
    """Return the texts of a text, or of a list of them, in YAML where it was typed; nothing for anything else."""
    if isinstance(value, str) and value[:1] in "[{":
        import yaml

        value = yaml.safe_load(value)
    if isinstance(value, str):
        return [] if value in ("", "null") else [value]
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _in_family(name: str, known: list[str]) -> bool:
    """Return True for ``timm/vit_tiny`` where ``timm/NAME`` is known."""
    family, slash, _ = name.partition("/")
    return bool(slash) and f"{family}/NAME" in known


def _fits(kind: typing.Any, value: object) -> bool:
    """Return True for a value that jsonargparse reads as the type."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        if isinstance(value, str):
            parser.parse_args([f"--value={value}"])
        else:
            parser.parse_object({"value": value})
    except Exception:  # jsonargparse raises several types; all of them are about the value
        return False
    return True
