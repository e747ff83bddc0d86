"""Methods and kinds of data of configs and runs, found without importing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from equissl.kinds import KINDS
from equissl.util.recipes import read_yaml
from equissl.util.runfolder import CARD, CONFIG_FILE, checkpoint_file
from equissl.util.signatures import attribute_of, registry_of
from equissl.util.sources import Definition
from equissl.verbs.parser import loaded

METHODS = "equissl.methods:METHODS"


def method_path(name: str) -> str:
    """Return the import path of a method, by its name or import path."""
    return registry_of(METHODS).get(name) or name


def kind_of(tree: dict[str, Any]) -> str | None:
    """Return the name of the kind of data of a config: the one it names, or that of its method; None if unknown.

    Args:
        tree: config.
    """
    given = (tree.get("data") or {}).get("kind")
    if given:
        return str(given)
    name = (tree.get("method") or {}).get("class_path")
    found = attribute_of(method_path(str(name)), "kind") if name else None
    return found if isinstance(found, str) else None


def kind_attribute(kind: str | None, attribute: str) -> Definition | str | None:
    """Return what a kind has as a class attribute; None if it is not found.

    Args:
        kind: name or import path.
        attribute: ``data``, ``options`` or ``batch``.
    """
    try:
        return attribute_of(KINDS.path_of(kind), attribute) if kind else None
    except ValueError:  # an unknown kind, of which the check of names tells
        return None


def kind_class(kind: str | None, attribute: str) -> str | None:
    """Return the import path of a class that a kind names, such as its section ``data``; None if it is not found.

    Args:
        kind: name or import path.
        attribute: ``data`` or ``options``.
    """
    found = kind_attribute(kind, attribute)
    return found.path if isinstance(found, Definition) else None


def adopted_encoder(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the encoder of the run that it starts from, where the method adopts it and no key names it.

    Args:
        tree: config.
    """
    method = tree.get("method") or {}
    adopts = attribute_of(method_path(str(method.get("class_path"))), "adopts_encoder") == str(True)
    if not adopts or not tree.get("init") or "encoder" in (method.get("init_args") or {}):
        return {}
    encoder = saved_encoder(Path(str(tree["init"])))
    return {"method": {"init_args": {"encoder": encoder}}} if encoder else {}


def saved_encoder(path: Path) -> dict[str, Any] | None:
    """Return the config of the encoder of a run or exported folder, or of a file in one; None where it does not say."""
    for folder in (path, path.parent, path.parent.parent):
        config, card = folder / CONFIG_FILE, folder / CARD
        if config.is_file() or card.is_file():
            saved = read_yaml(config) if config.is_file() else json.loads(card.read_text(encoding="utf-8"))
            encoder = (saved.get("method", {}).get("init_args") or {}).get("encoder")
            return encoder if isinstance(encoder, dict) else None
    return None


def evaluation_options(run: str) -> str:
    """Return the import path of what the evaluation of a run can be told.

    Args:
        run: run folder or checkpoint.

    Raises:
        FileNotFoundError: no such run.
    """
    folder = checkpoint_file(run).parent.parent
    config = folder / CONFIG_FILE
    found = kind_class(kind_of(read_yaml(config)), "options") if config.is_file() else None
    return found or _saved_options(run)


def _saved_options(run: str) -> str:
    """Return the options of the kind that a checkpoint names, for runs whose config or kind has no source."""
    options = loaded("equissl.evaluation:evaluation_kind")(Path(run)).options
    return f"{options.__module__}:{options.__qualname__}"
